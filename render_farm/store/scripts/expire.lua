-- uses verification.lua
-- Puts tasks back whose leases have ended.
--
-- KEYS[1]  farm:leases
-- ARGV[1]  now, seconds
-- ARGV[2]  how many at most
-- Returns  list of {task, job, node, 'expired', 'overdue' or 'stalled'}
-- Also changes the tasks, their nodes and operators, their jobs, lanes and events.

local ended = {}
for _, task in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local job, node = get(task_key(task), 'job', 'node')
  local _, last, why = ends_of(job_key(job), task_key(task))
  why = last <= tonumber(ARGV[1]) and why or 'expired'
  end_lease(job, task, ARGV[1], why)
  table.insert(ended, { task, job, node, why })
end
return ended
