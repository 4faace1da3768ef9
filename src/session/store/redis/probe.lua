-- Looks whether the server can do what the store needs. It changes nothing. ARGV[1]: the prefix; ARGV[2]: the upstream.
local about = redis.call('GET', ARGV[1] .. ':about')
if about and about ~= ARGV[2] then
  return {'foreign', about}
end
redis.call('TIME')
redis.call('INFO', 'server')
return {'ok'}
