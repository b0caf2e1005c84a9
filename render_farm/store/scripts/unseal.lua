-- A file of a scene was lost: the scene is no longer sealed, and its jobs wait until it is again.
--
-- Returns  how many jobs wait that did not before

local key = scene_key(arg.owner, arg.scene)
for _, sha in ipairs(arg.blobs) do redis.call('HDEL', 'farm:owner:' .. arg.owner .. ':blobs', sha) end
redis.call('HSET', key, 'sealed', 0)
local waiting = 0
local function set_aside(job)
  if filled(redis.call('HGET', job_key(job), 'lacks')) then return end
  redis.call('HSET', job_key(job), 'lacks', arg.why)
  redis.call('SADD', key .. ':waiting', job)
  tell(job, 'lost', cjson.decode(arg.event))
  settle(job)
  waiting = waiting + 1
end
set_aside(arg.job)
for _, job in ipairs(redis.call('ZRANGE', 'farm:jobs:open', 0, -1)) do
  local owner, scene = get(job_key(job), 'owner', 'scene')
  if owner == arg.owner and scene == arg.scene then set_aside(job) end
end
return waiting
