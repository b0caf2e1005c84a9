-- uses verification.lua
-- Takes a check's report with what was made of it, if its lease is still the checker's.
--
-- Returns  'accepted' | 'again' | 'other' | 'stale'

local task, token, node, now = arg.task, arg.token, arg.node, arg.now
local refusal, job = refused(task, token, node, arg.digest)
if refusal then return refusal end
local of, of_token = get(task_key(task), 'of', 'of_token')
local key = submission_key(of, of_token)
redis.call('HSET', task_key(task), 'result', arg.result, 'digest', arg.digest, 'progress', '')
move(job, task, 'leased', 'accepted')
local at, at_token = get(task_key(of), 'state', 'token')
local given_up = redis.call('HGET', job_key(job), 'given_up') == '1'
if given_up or at_token ~= of_token or (at ~= 'submitted' and at ~= 'auditing') then
  settle(job)
  return 'accepted'
end

local verdict = cjson.decode(arg.verdict)
redis.call('HSET', key, 'report', arg.report, 'verdict', arg.verdict, 'case', arg.case, 'evidence', arg.evidence,
  'check', task, 'check_token', token)
for _, audit in ipairs(arg.contradicted) do
  contradict(audit)
end

local audited, of_node, operator = get(key, 'audited', 'node', 'operator')
if arg.how == 'accepted' then
  redis.call('HSET', key, 'phase', 'done')
  if audited == '1' then
    rise('farm:node:' .. of_node, 'farm:owner:' .. operator)
    redis.call('HINCRBY', job_key(job), 'passed', 1)
    redis.call('HSETNX', job_key(job), 'channels', arg.channels)
    local least, most = get(job_key(job), 'noise_least', 'noise_most')
    if not least or tonumber(arg.noise) < tonumber(least) then redis.call('HSET', job_key(job), 'noise_least', arg.noise) end
    if not most or tonumber(arg.noise) > tonumber(most) then redis.call('HSET', job_key(job), 'noise_most', arg.noise) end
  end
  drop_extras(job, of)
  accept(job, of, at, now)
  if audited == '1' then tell_verdict(job, of, key, verdict) end
elseif arg.how == 'rejected' then
  if cjson.decode(arg.case).second == 'different' then redis.call('HINCRBY', job_key(job) .. ':lies', of_node, 1) end
  reject_submission(job, of, of_token, now, verdict, arg.failure)
elseif arg.how == 'unresolved' then
  -- It is rendered again, unpaid, and nobody is blamed; but who hands in such again and again waits.
  if verdict.code == 'recounted' and stranger(of_node) then strike(of_node, operator, now, 1, false) end
  leave_unresolved(job, of, of_token, now, verdict)
else
  redis.call('HSET', key, 'verdict', '')
  redis.call('HINCRBY', key, arg.because, 1)
  if audited ~= '1' then
    count_audited(job, key)
    redis.call('HSET', key, 'forced', arg.forced)
    redis.call('SREM', job_key(job) .. ':unaudited:' .. of_node, of .. ' ' .. of_token)
  end
  if at == 'submitted' then
    move(job, of, 'submitted', 'auditing')
    tell_task(job, of, 'auditing')
  end
  make_audits(job, of, of_token, arg.audits, now)
end
if arg.fallback then fall_back(job, cjson.decode(arg.fallback), now) end
settle(job)
return 'accepted'
