-- After the coordinator or the store was away nobody could renew or hand in: no lease ends before a given time, and
-- all begin anew.
--
-- Returns  how many leases were lengthened

for _, task in ipairs(redis.call('ZRANGE', 'farm:leases', 0, -1)) do
  redis.call('HSET', task_key(task), 'since', arg.now, 'moved_at', arg.now)
end
local short = redis.call('ZRANGEBYSCORE', 'farm:leases', '-inf', '(' .. arg.until_then)
for _, task in ipairs(short) do redis.call('ZADD', 'farm:leases', arg.until_then, task) end
return #short
