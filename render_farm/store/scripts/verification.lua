-- SPDX-License-Identifier: GPL-3.0-or-later
-- Stands after shared.lua before the scripts that decide about submissions:
--
--   farm:submission:{task}:{token}  hash: base (JSON SubmissionRecord as submitted), job, node, operator,
--                              attestation (its digest), leaf, root, phase (pending: its round is not out;
--                              open: audits or checks go on; done; void: its job or frame ended before),
--                              audited ('', '0', '1'), forced, candidates (JSON), audits (JSON list of
--                              tasks), asked (JSON), audits_before, spared (JSON list of nodes whose
--                              audit is not repeated; '' once one is), extras,
--                              checks, suspects, escalated (counts), report, verdict, case, evidence
--                              (JSON), check (task), check_token, second, second_signature, swept, agreement
--                              (that it was made under, or ''), looks (second looks ordered), doubts
--                              (repeats of audits ordered)
--   farm:job:{job}:submissions list: 'task token' in the order they came in
--   farm:job:{job}:rounds      set: beacon rounds that decided about them
--   farm:job:{job}:roots       hash: pixel root to JSON list of {task, token, frame, rejected}
--   farm:job:{job}:unaudited:{node}  set: 'task token' of what was accepted, or will be, without an audit
--   farm:job:{job}:excluded    set: nodes that get no more tasks of the job
--   farm:job:{job}:lies        hash: node to its rejections that a second look confirmed
--   farm:log                   list: digests of receipts of submission, the leaves of the farm's log
--   farm:rounds                sorted set: rounds that something waits for, by number
--   farm:round:{round}:waiting list: 'task token' of what the round decides
--   farm:round:{round}         hash: size (of the log when it was closed for it), late ('1': its value may have been
--                              out then), head (JSON SignedHead), value, beacon_signature, record (JSON Round)
--   farm:rounds:closed         the last round that the log was closed for
--   farm:log:head              the newest head (JSON SignedHead)
--
-- A leased tile's task also has terms (JSON Agreed: what its node's terms were made from).
-- An audit's task also has audit (JSON order), ranked (JSON list of nodes), asked_at, tried (JSON list),
-- own_only, repeat, fresh ('1': in a Blender that opens the scene for it), misses, own_misses, and once done address, operator, own, same_class, contradicted.

local AUDIT_TRIES = 3
local CHECK_TRIES = 2
local TWINS_KEPT = 8
local UNRESOLVED_OF_TASK = 4
local UNRESOLVED_OF_JOB = 16

local function submission_key(task, token) return 'farm:submission:' .. task .. ':' .. token end

-- Makes an audit or a check of a submission. `fields` is a flat list of further fields, `context` pixels to
-- render around crops beyond the overscan.
local function make_extra(job, task, token, kind, fields, context)
  local key = submission_key(task, token)
  local id = task .. '.' .. token .. '.' .. kind .. redis.call('HINCRBY', key, 'extras', 1)
  local record, frame, order, units = get(task_key(task), 'task', 'frame', 'order', 'audit_units')
  record = cjson.decode(record)
  record.id, record.kind = id, kind
  if kind == 'audit' then
    record.overscan = tonumber(filled(redis.call('HGET', job_key(job), 'overscan')) or 0) + (context or 0)
  end
  redis.call('HSET', task_key(id), 'task', cjson.encode(record), 'job', job, 'kind', kind, 'lane', kind,
    'frame', frame, 'order', order, 'state', 'ready', 'of', task, 'of_token', token, unpack(fields))
  if kind == 'audit' and filled(units) then redis.call('HSET', task_key(id), 'units', units) end
  redis.call('RPUSH', task_key(task) .. ':extras', id)
  redis.call('SADD', job_key(job) .. ':extras', id)
  redis.call('HINCRBY', job_key(job), 'extra_ready', 1)
  redis.call('ZADD', lane_key(job, kind), order, id)
  return id
end

local function make_check(job, task, token)
  redis.call('HINCRBY', submission_key(task, token), 'checks', 1)
  make_extra(job, task, token, 'check', {})
end

-- `orders` is a list of {audit (JSON), ranked (list), own_only, repeat ('0' or '1'), fresh ('0', '1' or nil),
-- context (pixels, or nil)}.
local function make_audits(job, task, token, orders, now)
  local key = submission_key(task, token)
  local class, node = get(task_key(task), 'class', 'node')
  local audits = cjson.decode(filled(redis.call('HGET', key, 'audits')) or '[]')
  for _, order in ipairs(orders) do
    table.insert(audits, make_extra(job, task, token, 'audit', { 'audit', order.audit, 'ranked',
      #order.ranked > 0 and cjson.encode(order.ranked) or '[]', 'asked_at', now, 'own_only', order.own_only,
      'repeat', order['repeat'], 'fresh', order.fresh or '0', 'wants', class, 'of_node', node, 'of_operator', redis.call('HGET', key, 'operator') },
      order.context))
    if (order.context or 0) > 0 then redis.call('HSET', job_key(job), 'strip', '0') end
    tell(job, 'audit', { task = task, frame = tonumber(redis.call('HGET', task_key(task), 'frame')),
      node = node, state = 'ordered', auditor = cjson.null })
  end
  redis.call('HSET', key, 'audits', cjson.encode(audits), 'phase', 'open')
end

local function count_audited(job, key)
  if redis.call('HGET', key, 'audited') ~= '1' then
    redis.call('HSET', key, 'audited', '1')
    redis.call('HINCRBY', job_key(job), 'audited', 1)
  end
end

-- Standing is earned by audited work only, and lost all at once.
local function rise(...)
  for _, key in ipairs({ ... }) do redis.call('HINCRBY', key, 'passed', 1) end
end

local function fall(node, operator)
  for _, key in ipairs({ 'farm:node:' .. node, 'farm:owner:' .. operator }) do
    redis.call('HSET', key, 'passed', 0)
    redis.call('HINCRBY', key, 'failed', 1)
    redis.call('HDEL', key, 'window', 'delivered')
  end
end

-- A finish task whose tiles are no longer all accepted waits again; whoever does it now loses it.
local function hold_finish(job, frame)
  local finish = filled(redis.call('HGET', frame_key(job, frame), 'finish'))
  local state = finish and redis.call('HGET', task_key(finish), 'state')
  if state == 'ready' or state == 'leased' then
    move(job, finish, state, 'waiting')
    redis.call('HSET', task_key(finish), 'node', '', 'slot', '', 'progress', '')
  end
end

local function frame_is_open(job, task)
  local frame = redis.call('HGET', task_key(task), 'frame')
  return redis.call('HGET', frame_key(job, frame), 'state') == 'rendering'
    and redis.call('HGET', job_key(job), 'given_up') ~= '1'
end

-- Puts a tile back that was submitted, is audited, or was accepted for a frame that is not done yet.
-- Returns whether it did.
local function render_again(job, task, token, now, code, sentence)
  local state, live, frame, replaced = get(task_key(task), 'state', 'token', 'frame', 'replaced')
  local cancel, given_up = get(job_key(job), 'cancel', 'given_up')
  if live ~= token or cancel == '1' or given_up == '1' then return false end
  if replaced == '1' then
    -- Its frame is rendered whole: nobody needs it again, but it is not paid for.
    local owed = redis.call('HGET', frame_key(job, frame), 'settled') == '1'
    if state == 'accepted' and not owed and frame_is_open(job, task) then drop_accepted(job, task) end
    return false
  end
  if state == 'submitted' or state == 'auditing' then
    drop_extras(job, task)
    back_to_ready(job, task, state, now, code, sentence)
    redis.call('HSET', task_key(task), 'result', '', 'digest', '')
    return true
  end
  if state == 'accepted' and frame_is_open(job, task) then
    take_back(job, task, now, code, sentence)
    hold_finish(job, frame)
    return true
  end
  return false
end

-- A stranger's node that was found false gets nothing more of the job: each of its tiles would only cost
-- another audit. Own nodes may be all there are to finish it: they are kept from the task alone.
local function exclude(job, task, node)
  if redis.call('HGET', 'farm:node:' .. node, 'own') ~= '1' then
    redis.call('SADD', job_key(job) .. ':excluded', node)
  end
  local excluded = cjson.decode(filled(redis.call('HGET', task_key(task), 'excluded')) or '[]')
  table.insert(excluded, node)
  redis.call('HSET', task_key(task), 'excluded', cjson.encode(excluded))
end

-- What a node that proved dishonest got accepted without an audit is rendered again, as far as it can be.
local function sweep(job, node, now, sentence)
  local key = job_key(job) .. ':unaudited:' .. node
  for _, entry in ipairs(redis.call('SMEMBERS', key)) do
    local task, token = entry:match('^(%S+) (%S+)$')
    if render_again(job, task, token, now, 'rejected', sentence) then
      redis.call('HSET', submission_key(task, token), 'phase', 'done', 'swept', '1')
    end
  end
  redis.call('DEL', key)
end

local function mark_root_rejected(job, task, token, root)
  local twins = cjson.decode(filled(redis.call('HGET', job_key(job) .. ':roots', root)) or '[]')
  local found
  for _, twin in ipairs(twins) do
    if twin.task == task and twin.token == token then found, twin.rejected = true, true end
  end
  if not found then
    local frame = tonumber(redis.call('HGET', task_key(task), 'frame'))
    table.insert(twins, { task = task, token = token, frame = frame, rejected = true })
  end
  redis.call('HSET', job_key(job) .. ':roots', root, cjson.encode(twins))
end

local function tell_verdict(job, task, key, verdict)
  local node, check, token, evidence = get(key, 'node', 'check', 'check_token', 'evidence')
  tell(job, 'verdict', { task = task, frame = tonumber(redis.call('HGET', task_key(task), 'frame')),
    node = node, outcome = verdict.outcome, code = verdict.code, reason = verdict.reason,
    evidence = cjson.decode(filled(evidence) or '[]'), by = filled(check) or '',
    by_token = tonumber(filled(token) or 0) })
end

-- The submission is false: its node is excluded from the task and its standing starts anew.
local function reject_submission(job, task, token, now, verdict, failure)
  local key = submission_key(task, token)
  local node, operator, root, agreement = get(key, 'node', 'operator', 'root', 'agreement')
  local frame, units = get(task_key(task), 'frame', 'units')
  if filled(units) then
    enter(job, entry('rejected', { task = task, token = tonumber(token), node = node, agreement = agreement or '',
      frame = tonumber(frame), code = verdict.code, reason = verdict.reason }, units))
  end
  render_again(job, task, token, now, 'rejected', verdict.reason)
  redis.call('HSET', key, 'phase', 'done')
  exclude(job, task, node)
  note_failure(task, failure)
  fall(node, operator)
  mark_root_rejected(job, task, token, root)
  redis.call('HINCRBY', job_key(job), 'rejected', 1)
  tell_verdict(job, task, key, verdict)
  sweep(job, node, now, 'Its node was found dishonest in this job, and this tile had not been audited.')
end

-- Whether it makes sense to go on: a tile that was left unresolved so often will be again, and so will the
-- others of a job where more are than pass.
local function is_endless(job, task)
  local passed, unresolved = get(job_key(job), 'passed', 'unresolved')
  local often = tonumber(redis.call('HGET', task_key(task), 'unresolved') or 0) >= UNRESOLVED_OF_TASK
  return often or (tonumber(unresolved) >= UNRESOLVED_OF_JOB and tonumber(unresolved) > tonumber(passed or 0))
end

-- Nobody can say: the tile is rendered again, by the farm's own nodes after the second time, where one
-- works on its device class; where that leads nowhere, own nodes of whatever class render whole frames.
local function leave_unresolved(job, task, token, now, verdict)
  local key = submission_key(task, token)
  verdict.outcome = 'unresolved'
  if render_again(job, task, token, now, 'unresolved', verdict.reason)
    and redis.call('HINCRBY', task_key(task), 'unresolved', 1) >= 2
    and has_own_node(redis.call('HGET', task_key(task), 'class'), now) then
    keep_for_own(job, task)
  end
  redis.call('HSET', key, 'phase', 'done')
  redis.call('HINCRBY', job_key(job), 'unresolved', 1)
  tell_verdict(job, task, key, verdict)
  if not is_endless(job, task) then return end
  local frame = redis.call('HGET', task_key(task), 'frame')
  fall_back(job, { scope = 'open', sentence = 'Tiles of this job were rendered again and again, and nobody could '
    .. 'audit them (frame ' .. frame .. '). ' .. verdict.reason .. " Frames are rendered whole by the farm's own "
    .. 'nodes from here on; nobody is blamed.' }, now)
end

local function failure_of(node, now, sentence)
  return cjson.encode({ code = 'bad_output', message = sentence, node = node, at = tonumber(now) })
end

local function refuse_auditor(task, node)
  local tried = cjson.decode(filled(redis.call('HGET', task_key(task), 'tried')) or '[]')
  table.insert(tried, node)
  redis.call('HSET', task_key(task), 'tried', cjson.encode(tried))
end

local function audit_failed(job, task, node, now, code, at_fault)
  local own = redis.call('HGET', 'farm:node:' .. node, 'own') == '1'
  if own then
    local misses = redis.call('HINCRBY', task_key(task), 'own_misses', at_fault and 1 or 0)
    if misses >= AUDIT_TRIES then return 'unresolved' end
  else
    refuse_auditor(task, node)
    local misses = redis.call('HINCRBY', task_key(task), 'misses', at_fault and 1 or 0)
    if misses >= AUDIT_TRIES then redis.call('HSET', task_key(task), 'own_only', '1') end
  end
  redis.call('HSET', task_key(task), 'asked_at', now)
  return 'ready'
end

local function contradict(audit)
  local node, operator, own, before = get(task_key(audit), 'node', 'operator', 'own', 'contradicted')
  if before == '1' then return end
  redis.call('HSET', task_key(audit), 'contradicted', '1')
  if own ~= '1' then fall(node, operator) end
end

-- Audits whose pictures cannot be looked at do not count; without them there may be none left to compare
-- with. Returns the check's next state, or nil where no audit of its submission was named.
local function drop_audits(of, token, named)
  local known, left = {}, 0
  for _, audit in ipairs(named) do known[audit] = true end
  local last
  for _, audit in ipairs(cjson.decode(filled(redis.call('HGET', submission_key(of, token), 'audits')) or '[]')) do
    local state, contradicted = get(task_key(audit), 'state', 'contradicted')
    if known[audit] and state == 'accepted' then
      contradict(audit)
      last = audit
    elseif state == 'accepted' and contradicted ~= '1' then
      left = left + 1
    end
  end
  if not last then return nil end
  if left > 0 then return 'ready' end
  local order = redis.call('HGET', task_key(last), 'audit')
  return 'again', { audit = order, ranked = {}, own_only = '1', ['repeat'] = '0' }
end

-- The store lost what auditors delivered: they, or others, do it again, and nobody is blamed. Returns whether an
-- audit of the submission was named.
local function render_audits_again(job, of, token, named, now, sentence)
  local known, found = {}, false
  for _, audit in ipairs(named) do known[audit] = true end
  for _, audit in ipairs(cjson.decode(filled(redis.call('HGET', submission_key(of, token), 'audits')) or '[]')) do
    if known[audit] and redis.call('HGET', task_key(audit), 'state') == 'accepted' then
      back_to_ready(job, audit, 'accepted', now, 'lost', sentence)
      redis.call('HSET', task_key(audit), 'result', '', 'digest', '', 'asked_at', now)
      found = true
    end
  end
  return found
end

-- A file that kills the decoder twice is no picture; other trouble is the node's own and passes.
local function check_failed(task, code, at_fault)
  if code == 'expired' then return 'ready' end
  if code == 'lost' then return 'unresolved' end
  if at_fault and redis.call('HINCRBY', task_key(task), 'misses', 1) >= CHECK_TRIES then return 'rejected' end
  if code == 'bad_input' and redis.call('HINCRBY', task_key(task), 'own_misses', 1) >= AUDIT_TRIES then
    return 'unresolved'
  end
  return 'ready'
end

-- An audit or a check was given back or its lease ended; `bad` are tasks whose files a check could not
-- look at. Returns the task's next state.
local function extra_failed(job, task, now, code, at_fault, sentence, bad)
  local kind, of, token, node = get(task_key(task), 'kind', 'of', 'of_token', 'node')
  local outcome, order
  if kind == 'check' and code == 'lost' and bad and render_audits_again(job, of, token, bad, now, sentence) then
    move(job, task, 'leased', 'cancelled')
    return 'cancelled'
  end
  if kind == 'check' and bad and code ~= 'lost' then outcome, order = drop_audits(of, token, bad) end
  if outcome == 'again' then
    move(job, task, 'leased', 'cancelled')
    make_audits(job, of, token, { order }, now)
    return 'cancelled'
  end
  if not outcome and kind == 'audit' then
    outcome = audit_failed(job, task, node, now, code, at_fault)
  elseif not outcome then
    outcome = check_failed(task, code, at_fault)
  end
  if outcome == 'ready' then
    back_to_ready(job, task, 'leased', now, code, sentence)
    return 'ready'
  end
  local key = submission_key(of, token)
  local verdict = { outcome = 'unresolved', code = 'not_audited',
    reason = 'It could not be audited, so it is rendered again: ' .. sentence }
  if outcome == 'rejected' then
    verdict = { outcome = 'rejected', code = 'undecodable',
      reason = 'The picture cannot be decoded: ' .. sentence }
  end
  redis.call('HSET', key, 'verdict', cjson.encode(verdict))
  if outcome == 'rejected' then
    reject_submission(job, of, token, now, verdict, failure_of(redis.call('HGET', key, 'node'), now, verdict.reason))
  else
    leave_unresolved(job, of, token, now, verdict)
  end
  if redis.call('HGET', task_key(task), 'state') == 'leased' then move(job, task, 'leased', 'cancelled') end
  return 'cancelled'
end

local ENDED = {
  expired = 'The lease ended without a word from the node.',
  overdue = 'The lease ended: its node had held the task for far longer than such tasks take.',
  stalled = 'The lease ended: its node made no progress for too long.',
}

-- Puts a task back whose lease has ended; `why` is a key of ENDED.
local function end_lease(job, task, now, why)
  local kind, node, operator = get(task_key(task), 'kind', 'node', 'held_by')
  if EXTRA[kind] then
    extra_failed(job, task, now, why, true, ENDED[why])
  else
    if why == 'overdue' then redis.call('HINCRBY', task_key(task), 'over', 1) end
    back_to_ready(job, task, 'leased', now, why, ENDED[why])
  end
  if filled(operator) then strike(node, operator, now, 2, true) end
  settle(job)
end
