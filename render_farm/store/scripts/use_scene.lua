-- Notes that a scene is used, if it is sealed.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- ARGV[1]  now, seconds
-- Returns  1 if it is sealed, else 0

if redis.call('HGET', KEYS[1], 'sealed') ~= '1' then return 0 end
redis.call('HSET', KEYS[1], 'used', ARGV[1])
return 1
