-- uses verification.lua
-- Takes what an auditor rendered, if its lease is still the auditor's; the last audit makes the check.
--
-- Returns  'accepted' | 'again' | 'other' | 'stale'

local task, token, node = arg.task, arg.token, arg.node
local refusal, job = refused(task, token, node, arg.digest)
if refusal then return refusal end
local of, of_token, class, wants, frame = get(task_key(task), 'of', 'of_token', 'class', 'wants', 'frame')
local key = submission_key(of, of_token)
redis.call('HSET', task_key(task), 'result', arg.result, 'digest', arg.digest, 'address', arg.address, 'operator', arg.operator,
  'own', arg.own, 'same_class', class == wants and '1' or '0', 'progress', '')
move(job, task, 'leased', 'accepted')
tell(job, 'audit', { task = of, frame = tonumber(frame), node = redis.call('HGET', key, 'node'), state = 'done',
  auditor = node })

-- Who audits whom is counted where the farm had a choice.
local spared, operator = get(key, 'spared', 'operator')
if cjson.decode(redis.call('HGET', key, 'audits'))[1] == task then
  local meetings = 'farm:owner:' .. operator .. ':audited'
  redis.call('HINCRBY', meetings, '*', 1)
  redis.call('HINCRBY', meetings, arg.operator, 1)
end

-- Most of the audits are repeated: accomplices audit for each other.
if arg.own ~= '1' and filled(spared) and not spared:find('"' .. node .. '"', 1, true) then
  redis.call('HSET', key, 'spared', '')
  local audit = redis.call('HGET', task_key(task), 'audit')
  make_audits(job, of, of_token, { { audit = audit, ranked = {}, own_only = '1', ['repeat'] = '1' } }, arg.now)
end
local unfinished = 0
for _, extra in ipairs(redis.call('LRANGE', task_key(of) .. ':extras', 0, -1)) do
  if UNFINISHED[redis.call('HGET', task_key(extra), 'state')] then unfinished = unfinished + 1 end
end
if unfinished == 0 then make_check(job, of, of_token) end
settle(job)
return 'accepted'
