redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', text(fence))
redis.call('PEXPIRE', KEYS[1], 600000)
tell('changed ' .. agent .. ' ' .. me)
return {'ok'}
