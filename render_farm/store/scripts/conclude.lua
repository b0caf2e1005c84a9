-- uses verification.lua
-- Takes a check's report with what was made of it, if its lease is still the checker's.
--
-- KEYS[1]  farm:task:{task}                  the check
-- KEYS[2]  farm:submission:{of}:{of_token}   what it looked at
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  node id
-- ARGV[4]  result (JSON)
-- ARGV[5]  digest of the result
-- ARGV[6]  'accepted' | 'rejected' | 'unresolved' | 'more' (another audit)
-- ARGV[7]  verdict (JSON)
-- ARGV[8]  case (JSON)
-- ARGV[9]  report (JSON)
-- ARGV[10] evidence (JSON list of files)
-- ARGV[11] JSON list of audits to order: {audit (JSON), ranked (list), own_only, repeat, fresh}
-- ARGV[12] JSON list: audits that the report contradicts
-- ARGV[13] 'suspects' | 'escalated' | 'looks' | 'doubts' | '': why there is another audit
-- ARGV[14] why the submission is audited although its round did not say so, or ''
-- ARGV[15] JSON: {channels (JSON), noise} of the tile
-- ARGV[16] now, seconds
-- ARGV[17] failure (JSON) for the task, where rejected
-- ARGV[18] JSON: {sentence, scope, approximate} where the job's frames are rendered whole from here on, or ''
-- Also changes the submission's node and operator, its job and frame, and other tasks of them.
-- Returns  'accepted' | 'again' | 'other' | 'stale'

local task, token, node, now = ARGV[1], ARGV[2], ARGV[3], ARGV[16]
local state, live, holder, digest = get(KEYS[1], 'state', 'token', 'node', 'digest')
if state == 'accepted' and live == token and holder == node then
  return digest == ARGV[5] and 'again' or 'other'
end
local job = held(task, token, node)
if not job then return 'stale' end
local of, of_token = get(KEYS[1], 'of', 'of_token')
redis.call('HSET', KEYS[1], 'result', ARGV[4], 'digest', ARGV[5], 'progress', '')
move(job, task, 'leased', 'accepted')
local at, at_token = get(task_key(of), 'state', 'token')
local given_up = redis.call('HGET', job_key(job), 'given_up') == '1'
if given_up or at_token ~= of_token or (at ~= 'submitted' and at ~= 'auditing') then
  settle(job)
  return 'accepted'
end

local verdict = cjson.decode(ARGV[7])
redis.call('HSET', KEYS[2], 'report', ARGV[9], 'verdict', ARGV[7], 'case', ARGV[8], 'evidence', ARGV[10],
  'check', task, 'check_token', token)
for _, audit in ipairs(cjson.decode(ARGV[12])) do
  contradict(audit)
end

local audited, of_node, operator = get(KEYS[2], 'audited', 'node', 'operator')
if ARGV[6] == 'accepted' then
  redis.call('HSET', KEYS[2], 'phase', 'done')
  if audited == '1' then
    rise('farm:node:' .. of_node, 'farm:owner:' .. operator)
    redis.call('HINCRBY', job_key(job), 'passed', 1)
    local seen = cjson.decode(ARGV[15])
    redis.call('HSETNX', job_key(job), 'channels', seen.channels)
    local least, most = get(job_key(job), 'noise_least', 'noise_most')
    if not least or seen.noise < tonumber(least) then redis.call('HSET', job_key(job), 'noise_least', seen.noise) end
    if not most or seen.noise > tonumber(most) then redis.call('HSET', job_key(job), 'noise_most', seen.noise) end
  end
  drop_extras(job, of)
  accept(job, of, at, now)
  if audited == '1' then tell_verdict(job, of, KEYS[2], verdict) end
elseif ARGV[6] == 'rejected' then
  if cjson.decode(ARGV[8]).second == 'different' then redis.call('HINCRBY', job_key(job) .. ':lies', of_node, 1) end
  reject_submission(job, of, of_token, now, verdict, ARGV[17])
elseif ARGV[6] == 'unresolved' then
  -- It is rendered again, unpaid, and nobody is blamed; but who hands in such again and again waits.
  if verdict.code == 'recounted' and stranger(of_node) then strike(of_node, operator, now, 1, false) end
  leave_unresolved(job, of, of_token, now, verdict)
else
  redis.call('HSET', KEYS[2], 'verdict', '')
  redis.call('HINCRBY', KEYS[2], ARGV[13], 1)
  if audited ~= '1' then
    count_audited(job, KEYS[2])
    redis.call('HSET', KEYS[2], 'forced', ARGV[14])
    redis.call('SREM', job_key(job) .. ':unaudited:' .. of_node, of .. ' ' .. of_token)
  end
  if at == 'submitted' then
    move(job, of, 'submitted', 'auditing')
    tell_task(job, of, 'auditing')
  end
  make_audits(job, of, of_token, cjson.decode(ARGV[11]), now)
end
if ARGV[18] ~= '' then fall_back(job, cjson.decode(ARGV[18]), now) end
settle(job)
return 'accepted'
