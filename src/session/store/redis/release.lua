-- What tells why there is no session stays, for whoever seeks next.
local kept = redis.call('HMGET', KEYS[1], 'stays', 'entry')
if kept[1] == '1' and kept[2] then
  redis.call('HSET', KEYS[1], 'owner', '')
  return {'ok'}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', text(fence))
redis.call('PEXPIRE', KEYS[1], 600000)
tell('changed ' .. agent .. ' ' .. me)
return {'ok'}
