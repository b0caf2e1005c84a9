-- Tells all jobs that are worked on what everybody should know.
--
-- Returns  how many jobs were told

local told, count = {}, 0
local function once(job)
  if not job or told[job] then return end
  told[job], count = true, count + 1
  tell(job, 'notice', { detail = arg.sentence })
end
for _, job in ipairs(redis.call('ZRANGE', 'farm:jobs:open', 0, -1)) do once(job) end
for _, task in ipairs(redis.call('ZRANGE', 'farm:leases', 0, -1)) do once(redis.call('HGET', task_key(task), 'job')) end
return count
