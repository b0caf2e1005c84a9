-- uses verification.lua
-- Puts tasks back whose leases have ended.
--
-- KEYS[1]  farm:leases
-- ARGV[1]  now, seconds
-- ARGV[2]  how many at most
-- Returns  list of {task, job, node}
-- Also changes the tasks, their jobs, lanes and events.

local ended = {}
for _, task in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local job, node, kind = get(task_key(task), 'job', 'node', 'kind')
  local sentence = 'The lease ended without a word from the node.'
  if EXTRA[kind] then
    extra_failed(job, task, ARGV[1], 'expired', true, sentence)
  else
    back_to_ready(job, task, 'leased', ARGV[1], 'expired', sentence)
  end
  settle(job)
  table.insert(ended, { task, job, node })
end
return ended
