-- uses verification.lua
-- Takes a task's result, if its lease is still the submitter's. The caller has checked the objects and
-- the signature. A result without a submission (a finished frame) is accepted at once.
--
-- Returns  {'accepted' | 'submitted' | 'again' | 'other' (submitted before with another result) | 'stale' |
--          'late' (the log is closed for the round), the leaf's number, or the last closed round where late}

local task, token, node = arg.task, arg.token, arg.node
local how, attestation, round = arg.how, arg.attestation, arg.round
local key = submission_key(task, token)

if how then
  local known, number = get(key, 'attestation', 'leaf')
  if known then return { known == attestation and 'again' or 'other', tonumber(number) } end
end
local refusal, job = refused(task, token, node, arg.digest)
if refusal or is_off_class(job, task) then return { refusal or 'stale', 0 } end
local last = tonumber(filled(redis.call('GET', 'farm:rounds:closed')) or 0)
if how and tonumber(round) <= last then return { 'late', last } end

redis.call('HSET', task_key(task), 'result', arg.result, 'digest', arg.digest, 'render_seconds', arg.render_seconds, 'progress', '', 'hold',
  held_for(task_key(task), arg.now))
local number = 0
if how then
  number = redis.call('RPUSH', 'farm:log', arg.receipt) - 1
  local entry, root = task .. ' ' .. token, arg.pixel_root
  redis.call('HSET', key, 'base', arg.record, 'job', job, 'node', node, 'operator', arg.operator,
    'attestation', attestation, 'leaf', number, 'root', root, 'phase', how == 'wait' and 'pending' or 'done',
    'audited', how == 'wait' and '' or '0', 'agreement', redis.call('HGET', task_key(task), 'agreement') or '')
  redis.call('RPUSH', job_key(job) .. ':submissions', entry)
  redis.call('SADD', job_key(job) .. ':rounds', round)
  redis.call('ZADD', 'farm:rounds', round, round)
  if how == 'wait' then redis.call('RPUSH', 'farm:round:' .. round .. ':waiting', entry) end
  if how == 'accept' then redis.call('SADD', job_key(job) .. ':unaudited:' .. node, entry) end
  local roots = job_key(job) .. ':roots'
  local twins = cjson.decode(filled(redis.call('HGET', roots, root)) or '[]')
  if #twins < TWINS_KEPT then
    table.insert(twins, { task = task, token = token, frame = tonumber(redis.call('HGET', task_key(task), 'frame')),
      rejected = false })
    redis.call('HSET', roots, root, cjson.encode(twins))
  end
end

if how == 'wait' then
  move(job, task, 'leased', 'submitted')
  tell_task(job, task, 'submitted')
else
  accept(job, task, 'leased', arg.now)
end
if not how then
  local frame, seam = redis.call('HGET', task_key(task), 'frame'), cjson.decode(arg.result).seam
  if type(seam) == 'table' then
    redis.call('HINCRBY', job_key(job), 'seams_looked', 1)
    redis.call('HSET', job_key(job), 'seam_task', '')
  end
  if arg.fallback then
    redis.call('HSET', frame_key(job, frame), 'whole', 1)
    fall_back(job, cjson.decode(arg.fallback), arg.now)
  end
end
settle(job)
return { how == 'wait' and 'submitted' or 'accepted', number }
