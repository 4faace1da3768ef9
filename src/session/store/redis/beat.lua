-- Renews the replica's tenure and takes out what stands in its inbox. ARGV[7]: how many messages at most.
local existed = redis.call('EXISTS', prefix .. ':replica:' .. me)
redis.call('SET', prefix .. ':replica:' .. me, text(lease), 'PX', lease)
redis.call('PEXPIRE', prefix .. ':about', 600000)
local inbox = prefix .. ':inbox:' .. me
local messages = redis.call('LRANGE', inbox, 0, tonumber(ARGV[7]) - 1)
redis.call('LTRIM', inbox, #messages, -1)
local answer = {'ok', tostring(existed), epoch, text(now), text(settling)}
for _, message in ipairs(messages) do
  answer[#answer + 1] = message
end
return answer
