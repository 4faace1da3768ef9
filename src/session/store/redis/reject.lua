-- Tells the owner that a Guid of its was refused. KEYS[1]: the agent's record; ARGV[7]: the agent; ARGV[8]: the fence;
-- ARGV[9]: the rotation; ARGV[10]: the cause. The inbox keeps the newest 1,024 messages, no longer than they matter.
local record = redis.call('HMGET', KEYS[1], 'fence', 'owner')
local owner = record[2]
-- Of an older fence: the session that was refused is gone already.
if owner and owner ~= '' and tonumber(record[1] or '') == tonumber(ARGV[8]) then
  local inbox = prefix .. ':inbox:' .. owner
  redis.call('RPUSH', inbox, ARGV[7] .. ' ' .. ARGV[8] .. ' ' .. ARGV[9] .. ' ' .. ARGV[10])
  redis.call('LTRIM', inbox, -1024, -1)
  redis.call('PEXPIRE', inbox, lease * 2)
  tell('inbox ' .. owner)
end
return {'ok'}
