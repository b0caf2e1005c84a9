-- After the coordinator or the store was away nobody could renew or hand in: no lease ends before a given time, and
-- all begin anew.
--
-- KEYS[1]  farm:leases
-- ARGV[1]  the earliest time a lease may end, seconds
-- ARGV[2]  since when the leases count, seconds
-- Returns  how many leases were lengthened

for _, task in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('HSET', task_key(task), 'since', ARGV[2], 'moved_at', ARGV[2])
end
local short = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
for _, task in ipairs(short) do redis.call('ZADD', KEYS[1], ARGV[1], task) end
return #short
