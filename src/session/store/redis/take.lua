-- What a seek begins with that becomes the owner though the owner's tenure lasts. ARGV[9]: the fence of what is taken; where
-- it is not the newest any more, it is a seek like any other.
local taken = redis.call('HGET', KEYS[1], 'fence') == ARGV[9]

