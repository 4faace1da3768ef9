-- ARGV[9]: the sealed entry; ARGV[10]: how long it is kept; ARGV[11]: '1' where it stays after a release.
redis.call('HSET', KEYS[1], 'fence', text(fence), 'owner', me, 'entry', ARGV[9], 'at', text(now), 'epoch', epoch,
  'stays', ARGV[11])
redis.call('HDEL', KEYS[1], 'left', 'left_fence', 'left_at')
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[10]))
tell('changed ' .. agent .. ' ' .. me)
return {'ok'}
