-- ARGV[9]: the sealed entry; ARGV[10]: how long it is kept.
redis.call('HSET', KEYS[1], 'fence', text(fence), 'owner', me, 'entry', ARGV[9], 'at', text(now), 'epoch', epoch)
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[10]))
tell('changed ' .. agent .. ' ' .. me)
return {'ok'}
