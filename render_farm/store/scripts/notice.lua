-- Tells all jobs that are worked on what everybody should know.
--
-- KEYS[1]  farm:jobs:open
-- KEYS[2]  farm:leases
-- ARGV[1]  a sentence
-- Returns  how many jobs were told

local told, count = {}, 0
local function once(job)
  if not job or told[job] then return end
  told[job], count = true, count + 1
  tell(job, 'notice', { detail = ARGV[1] })
end
for _, job in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do once(job) end
for _, task in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do once(redis.call('HGET', task_key(task), 'job')) end
return count
