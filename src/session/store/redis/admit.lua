-- Counts the sign-ins that ask in this second. ARGV[7]: how many may go. Who comes later waits, each further back, so that
-- not all come at once; at most 30 s.
local second = math.floor(now / 1000)
local key = prefix .. ':sign_ins:' .. text(second)
local count = redis.call('INCR', key)
redis.call('PEXPIRE', key, 5000)
local seconds = math.min(30, math.floor((count - 1) / tonumber(ARGV[7])))
if seconds == 0 then
  return {'ok', '0'}
end
return {'ok', text(math.max(1, seconds * 1000 - now % 1000))}
