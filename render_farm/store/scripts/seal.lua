-- Seals a scene: its blobs were checked and are there. Jobs that waited for one that was lost go on.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- KEYS[2]  farm:owner:{owner}:blobs
-- KEYS[3]  farm:owner:{owner}:scene:{scene}:waiting
-- Returns  how many jobs go on

redis.call('HSET', KEYS[1], 'sealed', 1)
local waiting = redis.call('SMEMBERS', KEYS[3])
for _, job in ipairs(waiting) do
  redis.call('HDEL', job_key(job), 'lacks')
  settle(job)
end
redis.call('DEL', KEYS[3])
return #waiting
