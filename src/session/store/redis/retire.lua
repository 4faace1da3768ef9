-- ARGV[9]: 'idle' or 'stop'; ARGV[10]: how long a use elsewhere counts.
if lost then
  -- Nothing is known yet of its use elsewhere.
  return {'settling', text(settling)}
end
local user = record[4]
if user and user ~= me then
  -- A clock that was set back makes it a use just now.
  local ago = math.max(0, now - (tonumber(record[3] or '') or now))
  if ago <= tonumber(ARGV[10]) then
    if ARGV[9] == 'idle' then
      return {'in_use', text(ago)}
    end
    if redis.call('EXISTS', prefix .. ':replica:' .. user) == 1 then
      redis.call('HSET', KEYS[1], 'owner', '')
      tell('changed ' .. agent .. ' ' .. me)
      return {'in_use', text(ago)}
    end
  end
end
-- Kept until the owner writes that it signs out: the answer to this may be lost, and the owner with it.
local now_left = redis.call('HMGET', KEYS[1], 'entry', 'at')
if now_left[1] then
  redis.call('HSET', KEYS[1], 'left', now_left[1], 'left_fence', text(fence), 'left_at', now_left[2] or text(now))
end
redis.call('HDEL', KEYS[1], 'entry', 'stays')
redis.call('HSET', KEYS[1], 'at', text(now))
redis.call('PEXPIRE', KEYS[1], 600000)
tell('changed ' .. agent .. ' ' .. me)
return {'unused'}
