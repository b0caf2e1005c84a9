-- uses verification.lua
-- What a submission's round decided about it.
--
-- Returns  'done' | 'again' (decided before) | 'gone' (the task was cancelled)

local task, token, how = arg.task, arg.token, arg.how
local key = submission_key(task, token)
local phase, job, node = get(key, 'phase', 'job', 'node')
if phase ~= 'pending' then return 'again' end
redis.call('HSET', key, 'value', arg.value)
local state, live = get(task_key(task), 'state', 'token')
if state ~= 'submitted' or live ~= token or redis.call('HGET', job_key(job), 'given_up') == '1' then
  redis.call('HSET', key, 'phase', 'void')
  return 'gone'
end
if how == 'audit' then
  count_audited(job, key)
  redis.call('HSET', key, 'forced', arg.forced, 'candidates', arg.candidates, 'spared', arg.spared, 'asked', arg.asked,
    'audits_before', arg.audits_before)
  move(job, task, 'submitted', 'auditing')
  tell_task(job, task, 'auditing')
  make_audits(job, task, token, arg.audits, arg.now)
else
  redis.call('HSET', key, 'audited', '0')
  redis.call('SADD', job_key(job) .. ':unaudited:' .. node, task .. ' ' .. token)
  if how == 'check' then
    redis.call('HSET', key, 'phase', 'open')
    make_check(job, task, token)
  else
    redis.call('HSET', key, 'phase', 'done')
    accept(job, task, 'submitted', arg.now)
  end
end
settle(job)
return 'done'
