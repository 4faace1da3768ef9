-- What every script of the session store begins with: whose prefix it is, what time it is, and whether the store is to be
-- believed. Redis runs a script as a whole, so nothing comes between its steps. All keys have the same hash tag.
local prefix, context, lease, me = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
-- What the caller thinks that the time is here, 0 if it does not know, and how long it waits for the answer.
local expected, patience = tonumber(ARGV[5]), tonumber(ARGV[6])

local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

-- Without an exponent: the numbers are below 2^53, which a double holds exactly.
local function text(number)
  return string.format('%.0f', number)
end

local function tell(message)
  redis.call('PUBLISH', prefix .. ':events', message)
end

-- Two deployments with different upstreams must not share a prefix. Ten minutes after the last one it is free.
local about = redis.call('GET', prefix .. ':about')
if about and about ~= context then
  return {'foreign', about}
end
if not about then
  redis.call('SET', prefix .. ':about', context, 'PX', 600000)
end

-- A restart, a failover, a wipe, or a clock that jumped ahead (and so let tenures expire that still last): what stands
-- here may be old or gone. For one lease time owners write theirs again, and nobody becomes one.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local known = redis.call('HMGET', prefix .. ':epoch', 'run', 'id')
local epoch = known[2]
local settling = redis.call('PTTL', prefix .. ':settling')
local jumped = expected > 0 and now - expected > lease / 2 and settling < 0
if known[1] ~= run or not epoch or jumped then
  epoch = text(math.max(micros, (tonumber(epoch or '0') or 0) + 1))
  redis.call('HSET', prefix .. ':epoch', 'run', run, 'id', epoch)
  redis.call('SET', prefix .. ':settling', epoch, 'PX', lease)
  settling = lease
elseif settling > lease or settling == -1 then
  -- The clock was set back: keys would live on for as long.
  redis.call('PEXPIRE', prefix .. ':settling', lease)
  settling = lease
end
if settling < 0 then
  settling = 0
end

-- The server hung meanwhile, and the caller has given it up: an ownership that nobody knows of, or an older entry over a
-- newer one, would be worse than nothing.
if expected > 0 and now - expected > patience then
  if settling > 0 then
    return {'settling', text(settling)}
  end
  return {'late'}
end

