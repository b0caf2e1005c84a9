-- Seals a scene: its blobs were checked and are there. Jobs that waited for one that was lost go on.
--
-- Returns  how many jobs go on

local key = scene_key(arg.owner, arg.scene)
redis.call('HSET', key, 'sealed', 1)
local waiting = redis.call('SMEMBERS', key .. ':waiting')
for _, job in ipairs(waiting) do
  redis.call('HDEL', job_key(job), 'lacks')
  settle(job)
end
redis.call('DEL', key .. ':waiting')
return #waiting
