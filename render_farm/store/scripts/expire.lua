-- uses verification.lua
-- Puts tasks back whose leases have ended.
--
-- Returns  list of {task, job, node, 'expired', 'overdue' or 'stalled'}

local ended = {}
for _, task in ipairs(redis.call('ZRANGEBYSCORE', 'farm:leases', '-inf', arg.now, 'LIMIT', 0, arg.limit)) do
  local job, node = get(task_key(task), 'job', 'node')
  local _, last, why = ends_of(job_key(job), task_key(task))
  why = last <= tonumber(arg.now) and why or 'expired'
  end_lease(job, task, arg.now, why)
  table.insert(ended, { task, job, node, why })
end
return ended
