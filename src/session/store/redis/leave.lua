-- Ends the replica's tenure, so that others need not wait for its end.
redis.call('DEL', prefix .. ':replica:' .. me, prefix .. ':inbox:' .. me)
return {'ok'}
