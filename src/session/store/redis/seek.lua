-- Becomes the agent's owner where there is none whose tenure lasts. KEYS[1]: its record; ARGV[6]: the agent; ARGV[7]: the
-- greatest fence that the caller knows of.
local agent, floor = ARGV[6], tonumber(ARGV[7])
local record = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'entry', 'at', 'epoch', 'used_by', 'left', 'left_fence',
  'left_at')
local fence = tonumber(record[1] or '0') or 0
local owner, entry = record[2], record[3] or ''
local age = math.max(0, now - (tonumber(record[4] or '') or now))

if owner and owner ~= '' and owner ~= me then
  local tenure = prefix .. ':replica:' .. owner
  local remains = redis.call('PTTL', tenure)
  if remains ~= -2 then
    -- The clock was set back: the owner's tenure would last as much longer than it knows.
    local whole = tonumber(redis.call('GET', tenure) or '') or lease
    if remains == -1 or remains > whole then
      redis.call('PEXPIRE', tenure, whole)
    end
    -- What its owner has not written again since the store came back may be old. Had it anything to write, it would have
    -- done so while the store settled; if it comes with it now, it is told that the agent is another's.
    if record[5] == epoch then
      redis.call('HSET', KEYS[1], 'used', text(now), 'used_by', me)
      return {'theirs', text(fence), text(age), entry}
    end
  end
end

if settling > 0 then
  return {'settling', text(settling)}
end
if redis.call('EXISTS', prefix .. ':replica:' .. me) == 0 then
  return {'lapsed'}
end

local newest = math.max(micros, fence + 1, floor + 1)
redis.call('HSET', KEYS[1], 'fence', text(newest), 'owner', me, 'at', text(now), 'epoch', epoch)
redis.call('HDEL', KEYS[1], 'entry')
-- What the owner before left is kept for the new one until it writes: the answer that hands it out may be lost, and then
-- it seeks once more.
local others = owner and owner ~= me
if others then
  redis.call('HSET', KEYS[1], 'left', entry, 'left_fence', text(fence), 'left_at', record[4] or text(now))
elseif owner == me and entry == '' and record[7] then
  others, entry, fence = true, record[7], tonumber(record[8])
  age = math.max(0, now - (tonumber(record[9]) or now))
else
  redis.call('HDEL', KEYS[1], 'left', 'left_fence', 'left_at')
end
-- Its own use of the session is no reason for an owner to keep it.
if record[6] == me then
  redis.call('HDEL', KEYS[1], 'used', 'used_by')
end
redis.call('PEXPIRE', KEYS[1], 600000)
if owner then
  tell('changed ' .. agent .. ' ' .. me)
end
return {'owned', text(newest), others and '1' or '0', text(fence), text(age), entry}
