-- A file of a scene was lost: the scene is no longer sealed, and its jobs wait until it is again.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- KEYS[2]  farm:owner:{owner}:blobs
-- KEYS[3]  farm:owner:{owner}:scene:{scene}:waiting   jobs that wait for the scene
-- ARGV[1]  the job whose node missed the file
-- ARGV[2]  owner
-- ARGV[3]  scene
-- ARGV[4]  why its jobs wait, a sentence
-- ARGV[5]  data of the event (JSON)
-- ARGV     from the sixth on: sha256 of each blob that was lost
-- Returns  how many jobs wait that did not before

for index = 6, #ARGV do redis.call('HDEL', KEYS[2], ARGV[index]) end
redis.call('HSET', KEYS[1], 'sealed', 0)
local waiting = 0
local function set_aside(job)
  if filled(redis.call('HGET', job_key(job), 'lacks')) then return end
  redis.call('HSET', job_key(job), 'lacks', ARGV[4])
  redis.call('SADD', KEYS[3], job)
  tell(job, 'lost', cjson.decode(ARGV[5]))
  settle(job)
  waiting = waiting + 1
end
set_aside(ARGV[1])
for _, job in ipairs(redis.call('ZRANGE', 'farm:jobs:open', 0, -1)) do
  local owner, scene = get(job_key(job), 'owner', 'scene')
  if owner == ARGV[2] and scene == ARGV[3] then set_aside(job) end
end
return waiting
