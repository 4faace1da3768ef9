-- What replicas tell each other of what people have taken. KEYS: two for each person, the bytes (a hash with a field for each
-- replica) and the recordings (a sorted set by minute). ARGV: the replica, how long a key is kept in ms, then for each person:
-- now, oldest and since (minutes), the most recordings to give, our bytes, how many recordings follow, and for each its
-- minute and its id. A number before a replica's bytes is the minute in which it wrote them.
local replica, kept = ARGV[1], ARGV[2]
local answer, at = {'ok'}, 3

local function give(text)
  answer[#answer + 1] = text
end

for person = 1, #KEYS, 2 do
  local bytes, recordings = KEYS[person], KEYS[person + 1]
  local now, oldest, since, most = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local ours, count = ARGV[at + 4], tonumber(ARGV[at + 5])
  at = at + 6

  redis.call('HSET', bytes, replica, now .. ' ' .. ours)
  redis.call('PEXPIRE', bytes, kept)
  local others = {}
  local all = redis.call('HGETALL', bytes)
  for field = 1, #all, 2 do
    local written, text = string.match(all[field + 1], '^(%d+) ?(.*)$')
    if not written or tonumber(written) < tonumber(oldest) then
      -- A replica that is no more.
      redis.call('HDEL', bytes, all[field])
    elseif all[field] ~= replica then
      others[#others + 1] = text
    end
  end
  give(tostring(#others))
  for _, text in ipairs(others) do
    give(text)
  end

  for _ = 1, count do
    -- `ZADD GT` would want Redis 6.2.
    local last = redis.call('ZSCORE', recordings, ARGV[at + 1])
    if not last or tonumber(last) < tonumber(ARGV[at]) then
      redis.call('ZADD', recordings, ARGV[at], ARGV[at + 1])
    end
    at = at + 2
  end
  -- Before anything is left out: what was written must not stay for ever.
  redis.call('PEXPIRE', recordings, kept)
  if most > 0 then
    redis.call('ZREMRANGEBYSCORE', recordings, '-inf', '(' .. oldest)
    -- With the newest of them every decision is the same.
    redis.call('ZREMRANGEBYRANK', recordings, 0, -(most + 1))
    local found = redis.call('ZREVRANGEBYSCORE', recordings, '+inf', since, 'WITHSCORES', 'LIMIT', 0, most)
    give(tostring(#found / 2))
    for _, text in ipairs(found) do
      give(text)
    end
  else
    give('0')
  end
end
return answer
