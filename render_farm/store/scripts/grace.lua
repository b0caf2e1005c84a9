-- After the coordinator or the store was away no node could renew: no lease ends before a given time.
--
-- KEYS[1]  farm:leases
-- ARGV[1]  the earliest time a lease may end, seconds
-- Returns  how many leases were lengthened

local short = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
for _, task in ipairs(short) do redis.call('ZADD', KEYS[1], ARGV[1], task) end
return #short
