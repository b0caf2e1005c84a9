-- uses verification.lua
-- What a submission's round decided about it.
--
-- KEYS[1]  farm:task:{task}
-- KEYS[2]  farm:submission:{task}:{token}
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  'accept' | 'check' | 'audit'
-- ARGV[4]  why it is audited although its round did not say so, or ''
-- ARGV[5]  JSON list of nodes that could audit it
-- ARGV[6]  JSON list of audits to order: {audit (JSON), ranked (list), own_only, repeat}
-- ARGV[7]  JSON list of other operators' nodes whose audit is not repeated
-- ARGV[8]  now, seconds
-- ARGV[9]  value of the round that decided, hexadecimal
-- ARGV[10] JSON list of those that could audit it, with what is known of them
-- ARGV[11] how many audits the work of its operator had before
-- Returns  'done' | 'again' (decided before) | 'gone' (the task was cancelled)

local task, token, how = ARGV[1], ARGV[2], ARGV[3]
local phase, job, node = get(KEYS[2], 'phase', 'job', 'node')
if phase ~= 'pending' then return 'again' end
redis.call('HSET', KEYS[2], 'value', ARGV[9])
local state, live = get(KEYS[1], 'state', 'token')
if state ~= 'submitted' or live ~= token or redis.call('HGET', job_key(job), 'given_up') == '1' then
  redis.call('HSET', KEYS[2], 'phase', 'void')
  return 'gone'
end
if how == 'audit' then
  count_audited(job, KEYS[2])
  redis.call('HSET', KEYS[2], 'forced', ARGV[4], 'candidates', ARGV[5], 'spared', ARGV[7], 'asked', ARGV[10],
    'audits_before', ARGV[11])
  move(job, task, 'submitted', 'auditing')
  tell_task(job, task, 'auditing')
  make_audits(job, task, token, cjson.decode(ARGV[6]), ARGV[8])
else
  redis.call('HSET', KEYS[2], 'audited', '0')
  redis.call('SADD', job_key(job) .. ':unaudited:' .. node, task .. ' ' .. token)
  if how == 'check' then
    redis.call('HSET', KEYS[2], 'phase', 'open')
    make_check(job, task, token)
  else
    redis.call('HSET', KEYS[2], 'phase', 'done')
    accept(job, task, 'submitted', ARGV[8])
  end
end
settle(job)
return 'done'
