-- ARGV[8]: the sealed entry; ARGV[9]: how long it is kept; ARGV[10]: '1' where it stays after a
-- release.
redis.call('HSET', KEYS[1], 'fence', text(fence), 'owner', me, 'entry', ARGV[8], 'at', text(now), 'epoch', epoch,
  'stays', ARGV[10])
redis.call('HDEL', KEYS[1], 'left', 'left_fence', 'left_at')
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[9]))
tell('changed ' .. agent .. ' ' .. me)
return {'ok'}
