-- Only the newest fence of the agent's owner goes on from here. Just after the store came back also one that is newer than
-- what it knows of: the owner writes again what was lost. KEYS[1]: the agent's record; ARGV[7]: the agent; ARGV[8]: the
-- fence.
local agent, fence = ARGV[7], tonumber(ARGV[8])
local record = redis.call('HMGET', KEYS[1], 'fence', 'owner', 'used', 'used_by')
local newest = tonumber(record[1] or '0') or 0
local lost = settling > 0 and fence > newest
if not lost and not (fence == newest and record[2] == me) then
  return {'superseded'}
end

