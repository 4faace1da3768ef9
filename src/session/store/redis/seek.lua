-- Becomes the agent's owner where there is none whose tenure lasts, or where it is taken. KEYS[1]: its record; ARGV[7]: the
-- agent; ARGV[8]: the greatest fence that the caller knows of.
local agent, floor = ARGV[7], tonumber(ARGV[8])
local record = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'entry', 'at', 'epoch', 'used_by')
local fence = tonumber(record[1] or '0') or 0
local owner, entry = record[2], record[3] or ''
local age = math.max(0, now - (tonumber(record[4] or '') or now))

if owner and owner ~= '' and owner ~= me and not taken then
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

-- What the owner before wrote is kept until the new one writes: the answer to this may be lost, and then it is asked again.
if owner ~= me and entry ~= '' then
  redis.call('HSET', KEYS[1], 'left', entry, 'left_fence', text(fence), 'left_at', text(now - age))
end
local left = redis.call('HMGET', KEYS[1], 'left', 'left_fence', 'left_at')
if left[1] then
  entry, fence = left[1], tonumber(left[2] or '') or 0
  age = math.max(0, now - (tonumber(left[3] or '') or now))
end
local others = (left[1] or (owner and owner ~= me)) and '1' or '0'

local newest = math.max(micros, (tonumber(record[1] or '0') or 0) + 1, floor + 1)
redis.call('HSET', KEYS[1], 'fence', text(newest), 'owner', me, 'at', text(now), 'epoch', epoch)
redis.call('HDEL', KEYS[1], 'entry', 'stays')
-- Its own use of the session is no reason for an owner to keep it.
if record[6] == me then
  redis.call('HDEL', KEYS[1], 'used', 'used_by')
end
redis.call('PEXPIRE', KEYS[1], 600000)
if owner then
  tell('changed ' .. agent .. ' ' .. me)
end
return {'owned', text(newest), others, text(fence), text(age), entry}
