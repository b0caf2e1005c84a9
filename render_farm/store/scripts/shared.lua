-- SPDX-License-Identifier: GPL-3.0-or-later
-- Stands after holding.lua before every other script, and after the table of states.py; each script is told what its
-- record of calls.py, `arg`, says. Keys reached from here are derived from the ids the script was
-- given, since a task leads to its job, its frame and its node:
--
--   farm:task:{task}           hash: task (JSON), job, kind, lane, frame, order, state, token, node,
--                              slot, class and memory (of the slot), attempts, faults, failures (JSON list), failed_on, failed_at,
--                              failed_code, progress (JSON), result (JSON), digest, render_seconds,
--                              excluded (JSON list of nodes that never get it again), unresolved (count);
--                              what is absent is 0 or empty. Audits and checks also have of, of_token (the
--                              submission), wants (its device class), and verification.lua's fields.
--                              Of paid jobs also units (micro-units it counts as; none where it is not paid
--                              for), audit_units (what an audit of it counts as), agreement (that whose
--                              units it uses up now, or ''), replaced ('1': its frame is rendered whole by
--                              another task instead)
--                              Of leases also what holding.lua lists
--   farm:task:{task}:accusers  hash: strangers' operators to how often they called the task broken
--   farm:task:{task}:extras    list: audits and checks of the task's last submission
--   farm:job:{job}             hash: the job's record; counters total, waiting, ready, leased, submitted,
--                              auditing, accepted, failed, cancelled, rendering (unfinished tasks other than
--                              finish), frames_total, frames_done, frames_failed, render_seconds, audited,
--                              passed, rejected, unresolved; extra_{state} of audits and checks, which are
--                              none of the job's tasks; intents cancel, pause; device_class (the pin);
--                              in_order ('1': only devices that add in order may make its frames, 'own': and the
--                              farm's own of any kind, since two renders of others are not alike);
--                              fallback (why frames are rendered whole, or absent), fallback_at;
--                              seams (JSON list: after how many frames one is rendered whole as well),
--                              seams_looked (count), seam_task (who does so now);
--                              strip ('1': a strip of one of its tiles is to be rendered with more around it);
--                              sums (JSON: what bounds rounding on devices that add in any order);
--                              standstill (why nobody may take any of its tasks, or '');
--                              late (count of :late); pinned_at, pin_proven ('1': a node that is known works on
--                              the pinned class), repinned ('1': the pin was taken from nodes that brought nothing);
--                              pace:{tiles}:{class} (holding.lua); rank; announced (last state in events); channels, noise_least, noise_most (of
--                              tiles accepted after an audit), lacks (why it waits for a lost file of its
--                              scene, or ''). Of paid jobs also paid ('1'), funded ('0',
--                              '1'), held (why it is set aside, or ''), settled ('1': all money is where it
--                              belongs), units_left (of unfinished tiles), payment, terms, money, statement
--                              (JSON). Of quotes also probe (the order), facts and, once made, quote (JSON)
--   farm:job:{job}:ready:{lane}  sorted set: ready tasks by their order; a lane is render, kept (tiles for
--                              own nodes only), final (Blender writes the files), finish, audit, check or probe
--   farm:job:{job}:late        sorted set: leased tasks that somebody else may take over, by their order
--   farm:job:{job}:broken      hash: strangers' operators to how often they called tasks broken, less what was
--                              accepted of theirs since
--   farm:job:{job}:extras      set: unfinished audits and checks
--   farm:job:{job}:too_small   hash: bytes of the largest video memory that the job's scene did not fit: `own`, as
--                              the farm's own nodes saw it, and each node's id, as it says of its own slots
--   farm:job:{job}:tasks       list: task ids in order
--   farm:job:{job}:events      stream: events but progress, capped
--   farm:job:{job}:progress    stream: progress events, which tell how it is now and push nothing else out, capped
--   farm:job:{job}:order:{node}  hash: agreement, units_cap, units_used (by tasks that are leased, submitted or
--                              accepted under that agreement)
--   farm:job:{job}:entries     list: JSON objects, what a paid job's books are made of; only appended to
--   farm:money:changed         stream: jobs whose money changed, capped
--   farm:frame:{job}:{frame}   hash: tiles (count), accepted (count), tasks (JSON list of tile ids),
--                              finish (task id or ''), state, render_seconds, files (JSON), by (task id),
--                              by_token, settled ('1': a paid job's books were told that it ended),
--                              whole ('1': one Blender renders it instead of the job's first tasks for it)
--   farm:node:{node}:leases    set: tasks the node holds
--   farm:owner:{owner}:unfinished  sorted set: the owner's unfinished jobs by how many tasks they have;
--                              farm:owner:{owner}:probing of its quotes; farm:owner:{owner}:kept of those that
--                              ended, by the job's weight (about how many bytes the store has of it)
--   farm:jobs:ending           sorted set: jobs that were given up and have tasks left to end; a job's
--                              ended_to says how many were
--   farm:leases                sorted set: leased tasks by the time their lease ends
--   farm:jobs:open             sorted set: jobs with ready tasks, not paused or cancelled, by rank

local EVENTS_KEPT, PROGRESS_KEPT = 20000, 1000
local BROKEN_FRAMES = 3
local FAILURES_KEPT = 20
local ENDED_AT_ONCE = 400
local OWN_NODE_SECONDS = 120
local PIN_SECONDS = 600
local EXTRA = { audit = true, check = true }
local RINGS_KEPT = 1000
local NO_ROOT = string.rep('0', 64)

local function task_key(task) return 'farm:task:' .. task end
local function job_key(job) return 'farm:job:' .. job end
local function lane_key(job, lane) return 'farm:job:' .. job .. ':ready:' .. lane end
local function scene_key(owner, scene) return 'farm:owner:' .. owner .. ':scene:' .. scene end
local function frame_key(job, frame) return 'farm:frame:' .. job .. ':' .. frame end

local function tell(job, name, data)
  redis.call('XADD', job_key(job) .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*',
    'event', name, 'data', cjson.encode(data))
end

local function tell_progress(job, data)
  redis.call('XADD', job_key(job) .. ':progress', 'MAXLEN', '~', PROGRESS_KEPT, '*',
    'event', 'progress', 'data', cjson.encode(data))
end

local function tell_task(job, task, state, detail)
  local kind, frame, node, slot = get(task_key(task), 'kind', 'frame', 'node', 'slot')
  if EXTRA[kind] then return end
  tell(job, 'task', {
    task = task, kind = kind, frame = tonumber(frame), state = state,
    node = filled(node) or cjson.null, slot = filled(slot) or cjson.null, detail = detail or '',
  })
end

local function order_key(job, node) return job_key(job) .. ':order:' .. node end

local function is_paid(job) return redis.call('HGET', job_key(job), 'paid') == '1' end

-- Wakes who keeps the books.
local function ring_money(job)
  redis.call('XADD', 'farm:money:changed', 'MAXLEN', '~', RINGS_KEPT, '*', 'job', job)
end

-- One entry of the books. Units are written as they are stored: cjson keeps 14 digits only.
local function entry(kind, fields, units)
  fields.kind = kind
  local text = cjson.encode(fields)
  if units then text = text:sub(1, -2) .. ',"units":' .. units .. '}' end
  return text
end

local function enter(job, text)
  redis.call('RPUSH', job_key(job) .. ':entries', text)
  ring_money(job)
end

-- Work that is paid for was accepted; `frame` is nil for an audit.
local function enter_accepted(job, task, frame)
  local token, node, units, agreement, result = get(task_key(task), 'token', 'node', 'units', 'agreement', 'result')
  if not filled(units) then return end
  local root = cjson.decode(result).pixel_root
  enter(job, entry('accepted', { task = task, token = tonumber(token), node = node, agreement = agreement or '',
    root = type(root) == 'string' and root or NO_ROOT, frame = tonumber(frame) or cjson.null }, units))
end

-- A frame of a paid job ended, one way or another: what is accepted of it is owed.
local function settle_frame(job, frame)
  if is_paid(job) and redis.call('HSETNX', frame_key(job, frame), 'settled', 1) == 1 then
    enter(job, entry('settled', { frame = tonumber(frame) }))
  end
end

-- The same for all frames that are left; there may be a hundred thousand.
local function settle_frames(job)
  if not is_paid(job) then return end
  local some = {}
  local function flush()
    if #some > 0 then redis.call('RPUSH', job_key(job) .. ':entries', unpack(some)) end
    some = {}
  end
  for _, frame in ipairs(redis.call('LRANGE', job_key(job) .. ':frames', 0, -1)) do
    if redis.call('HSETNX', frame_key(job, frame), 'settled', 1) == 1 then
      table.insert(some, entry('settled', { frame = tonumber(frame) }))
      if #some == 1000 then flush() end
    end
  end
  flush()
  ring_money(job)
end

-- A task no longer uses units of the agreement it was leased under.
local function give_units_back(job, task)
  local agreement, units, node = get(task_key(task), 'agreement', 'units', 'node')
  if not filled(agreement) then return end
  redis.call('HSET', task_key(task), 'agreement', '')
  if redis.call('HGET', order_key(job, node), 'agreement') == agreement then
    redis.call('HINCRBY', order_key(job, node), 'units_used', '-' .. units)
  end
end

-- The state alone, as the table of transitions has it.
local function set_state(task, from, to)
  assert(TRANSITIONS[from][to], 'no task goes from ' .. from .. ' to ' .. to .. ': ' .. task)
  redis.call('HSET', task_key(task), 'state', to)
end

-- Moves a task between states with all that hangs on it: counters, its lane, its lease, its units.
local function move(job, task, from, to)
  set_state(task, from, to)
  local kind, lane, order, node, units, held_by, late =
    get(task_key(task), 'kind', 'lane', 'order', 'node', 'units', 'held_by', 'late')
  local prefix = EXTRA[kind] and 'extra_' or ''
  redis.call('HINCRBY', job_key(job), prefix .. from, -1)
  redis.call('HINCRBY', job_key(job), prefix .. to, 1)
  if UNFINISHED[from] ~= UNFINISHED[to] then
    if EXTRA[kind] then
      redis.call('SREM', job_key(job) .. ':extras', task)
    elseif kind ~= 'finish' then
      redis.call('HINCRBY', job_key(job), 'rendering', UNFINISHED[to] and 1 or -1)
      if filled(units) then
        redis.call('HINCRBY', job_key(job), 'units_left', (UNFINISHED[to] and '' or '-') .. units)
      end
    end
  end
  if USES_UNITS[from] and not USES_UNITS[to] then give_units_back(job, task) end
  if to == 'ready' then redis.call('ZADD', lane_key(job, lane), order, task) end
  if from == 'ready' then redis.call('ZREM', lane_key(job, lane), task) end
  if from == 'leased' then
    redis.call('ZREM', 'farm:leases', task)
    redis.call('SREM', 'farm:node:' .. node .. ':leases', task)
    if filled(held_by) then redis.call('SREM', 'farm:owner:' .. held_by .. ':leases', task) end
    if late == '1' then
      redis.call('HSET', task_key(task), 'late', '')
      redis.call('ZREM', job_key(job) .. ':late', task)
      redis.call('HINCRBY', job_key(job), 'late', -1)
    end
  end
end

local function job_state(job)
  local cancel, pause, waiting, ready, leased, submitted, auditing, rendering, failed, broken, paid, funded, notice,
    settled, lacks = get(job_key(job), 'cancel', 'pause', 'waiting', 'ready', 'leased', 'submitted', 'auditing',
      'rendering', 'failed', 'frames_failed', 'paid', 'funded', 'held', 'settled', 'lacks')
  if cancel == '1' then return 'cancelled' end
  if waiting + ready + leased + (submitted or 0) + (auditing or 0) == 0 then
    if tonumber(failed) + tonumber(broken) > 0 then return 'failed' end
    return settled == '1' and 'settled' or 'complete'
  end
  if paid == '1' and funded ~= '1' then return 'awaiting_funds' end
  if pause == '1' or filled(notice) or filled(lacks) then return 'paused' end
  if tonumber(rendering) == 0 then return 'finishing' end
  return 'rendering'
end

-- What an owner has going on: its jobs, or its quotes, with how many tasks each.
local function count_unfinished(job, state)
  local owner, probe, total, weight = get(job_key(job), 'owner', 'probe', 'total', 'weight')
  local of_owner = 'farm:owner:' .. (owner or '')
  local key = of_owner .. (filled(probe) and ':probing' or ':unfinished')
  if ENDED[state] then
    redis.call('ZREM', key, job)
    redis.call('ZADD', of_owner .. ':kept', weight or 0, job)
  else
    redis.call('ZADD', key, total or 0, job)
    redis.call('ZREM', of_owner .. ':kept', job)
  end
end

-- Every script that changed a job ends with this: is it open to nodes, has its state changed?
local function settle(job)
  local state = job_state(job)
  local ready, extra, late, rank, announced = get(job_key(job), 'ready', 'extra_ready', 'late', 'rank', 'announced')
  if ready + (extra or 0) + (late or 0) > 0 and (state == 'rendering' or state == 'finishing') then
    redis.call('ZADD', 'farm:jobs:open', rank, job)
  else
    redis.call('ZREM', 'farm:jobs:open', job)
  end
  if state ~= announced then
    redis.call('HSET', job_key(job), 'announced', state)
    count_unfinished(job, state)
    tell(job, 'job', { state = state })
    if is_paid(job) then ring_money(job) end
  end
end

-- Ends what audits and checks a task still has. Audits that were done are paid for whatever the verdict was,
-- unless they were contradicted.
local function drop_extras(job, task)
  for _, extra in ipairs(redis.call('LRANGE', task_key(task) .. ':extras', 0, -1)) do
    local state, contradicted = get(task_key(extra), 'state', 'contradicted')
    if UNFINISHED[state] then
      move(job, extra, state, 'cancelled')
    elseif state == 'accepted' and contradicted == '1' then
      give_units_back(job, extra)
    elseif state == 'accepted' then
      enter_accepted(job, extra)
    end
  end
  redis.call('DEL', task_key(task) .. ':extras')
end

-- Whether nothing rendered, or being rendered, on the job's device class is left.
local function is_movable(job)
  local leased, submitted, auditing, accepted = get(job_key(job), 'leased', 'submitted', 'auditing', 'accepted')
  return leased + (submitted or 0) + (auditing or 0) + accepted == 0
end

local function cancel_unfinished(job, tasks)
  for _, task in ipairs(tasks) do
    local state = redis.call('HGET', task_key(task), 'state')
    if UNFINISHED[state] then
      drop_extras(job, task)
      move(job, task, state, 'cancelled')
      if state == 'leased' then tell_task(job, task, 'cancelled') end
    end
  end
end

-- Ends up to `limit` tasks of a job that was given up, from where it stopped; returns whether there are more.
local function end_some(job, limit)
  local key = job_key(job)
  local extras = redis.call('SRANDMEMBER', key .. ':extras', limit)
  for _, extra in ipairs(extras) do
    move(job, extra, redis.call('HGET', task_key(extra), 'state'), 'cancelled')
  end
  local first = tonumber(filled(redis.call('HGET', key, 'ended_to')) or 0)
  local tasks = redis.call('LRANGE', key .. ':tasks', first, first + limit - 1)
  for _, task in ipairs(tasks) do
    local state = redis.call('HGET', task_key(task), 'state')
    if UNFINISHED[state] then
      if state == 'auditing' then drop_extras(job, task) end
      if USES_UNITS[state] then give_units_back(job, task) end
      set_state(task, state, 'cancelled')
    end
  end
  redis.call('HSET', key, 'ended_to', first + #tasks)
  if #tasks == limit or #extras == limit then
    redis.call('ZADD', 'farm:jobs:ending', 0, job)
    return true
  end
  redis.call('ZREM', 'farm:jobs:ending', job)
  return false
end

-- The same for a whole job: nothing of it is leased from here on, nor counted as unfinished. Of many tasks most
-- are ended afterwards, by end_tasks.lua, so that nobody has to wait for a hundred thousand.
local function cancel_job(job)
  local key = job_key(job)
  redis.call('HSET', key, 'given_up', 1)
  for _, task in ipairs(redis.call('ZRANGE', 'farm:leases', 0, -1)) do
    if task:sub(1, #job + 1) == job .. '.' then
      move(job, task, 'leased', 'cancelled')
      tell_task(job, task, 'cancelled')
    end
  end
  local waiting, ready, submitted, auditing = get(key, 'waiting', 'ready', 'submitted', 'auditing')
  redis.call('HINCRBY', key, 'cancelled', waiting + ready + (submitted or 0) + (auditing or 0))
  redis.call('HSET', key, 'waiting', 0, 'ready', 0, 'submitted', 0, 'auditing', 0, 'rendering', 0, 'units_left', 0)
  settle_frames(job)
  for _, lane in ipairs({ 'render', 'kept', 'final', 'finish', 'probe' }) do
    redis.call('UNLINK', lane_key(job, lane))
  end
  end_some(job, ENDED_AT_ONCE)
end

local function tiles_of(job, frame)
  return cjson.decode(redis.call('HGET', frame_key(job, frame), 'tasks'))
end

-- A frame that can never be whole takes its other tasks with it. When the first frames of a job all
-- break, so will the rest: it is not tried on every one of them.
local function break_frame(job, frame, sentence)
  local key = frame_key(job, frame)
  local members = tiles_of(job, frame)
  table.insert(members, filled(redis.call('HGET', key, 'finish')))
  cancel_unfinished(job, members)
  redis.call('HSET', key, 'state', 'failed')
  settle_frame(job, frame)
  redis.call('HSETNX', job_key(job), 'failure', sentence)
  local broken = redis.call('HINCRBY', job_key(job), 'frames_failed', 1)
  tell(job, 'frame', { frame = tonumber(frame), state = 'failed', detail = sentence,
    tiles = tonumber(redis.call('HGET', key, 'tiles')) })
  if broken >= BROKEN_FRAMES and redis.call('HGET', job_key(job), 'frames_done') == '0' then
    cancel_job(job)
  end
end

-- Whether a leased task may be had by another node: never by one of the same operator's, who would only go on
-- holding it, and not by one that nobody knows where the holder is known.
local function may_take_over(task, node, operator)
  local late, holder, of = get(task_key(task), 'late', 'node', 'held_by')
  if late ~= '1' or of == operator then return false end
  return not operator or is_known(node) or not is_known(holder)
end

-- The job's field that tells how long such tasks take; '' where nobody counts.
local function pace_field(job, frame, kind, class)
  if kind ~= 'render' and kind ~= 'audit' then return '' end
  return 'pace:' .. (redis.call('HGET', frame_key(job, frame), 'tiles') or 1) .. ':' .. class
end

-- Whether a job's device class may be changed although somebody works on it: a node that nobody knows pinned it,
-- and nothing came of it for a while.
local function is_pin_idle(job, now)
  local submitted, auditing, accepted, proven, pinned =
    get(job_key(job), 'submitted', 'auditing', 'accepted', 'pin_proven', 'pinned_at')
  return (submitted or 0) + (auditing or 0) + accepted == 0 and proven ~= '1' and filled(pinned) ~= nil
    and now - pinned > PIN_SECONDS
end

-- Whether a task is rendered on a class that its job no longer has.
local function is_off_class(job, task)
  local pin, repinned = get(job_key(job), 'device_class', 'repinned')
  if repinned ~= '1' then return false end
  local kind, class = get(task_key(task), 'kind', 'class')
  return kind == 'render' and filled(pin) ~= nil and pin ~= class
end

-- The job of a task that this node holds under this token now, or nil.
local function held(task, token, node)
  local job, state, live, holder = get(task_key(task), 'job', 'state', 'token', 'node')
  if state == 'leased' and live == token and holder == node then return job end
  return nil
end

-- What is said to a result under a lease: 'again' or 'other' where one was accepted under it before, 'stale' where
-- the lease is over, or nil and the task's job.
local function refused(task, token, node, told)
  local state, live, holder, digest = get(task_key(task), 'state', 'token', 'node', 'digest')
  if state == 'accepted' and live == token and holder == node then return digest == told and 'again' or 'other' end
  local job = held(task, token, node)
  return not job and 'stale' or nil, job
end

-- A scene did not fit the video memory of the slot that its task was leased for. An own node's word is heeded for
-- all slots that have no more; a stranger could bar everybody from a job, so its word is heeded for its own slots.
local function note_too_small(job, task)
  local node, memory = get(task_key(task), 'node', 'memory')
  local own = redis.call('HGET', 'farm:node:' .. node, 'own') == '1'
  for _, who in ipairs(own and { 'own', node } or { node }) do
    local known = tonumber(redis.call('HGET', job_key(job) .. ':too_small', who) or -1)
    if tonumber(memory or 0) > known then redis.call('HSET', job_key(job) .. ':too_small', who, memory or 0) end
  end
end

-- Puts a task back, remembering on whose machine it went wrong.
local function back_to_ready(job, task, from, now, code, detail)
  local node = redis.call('HGET', task_key(task), 'node')
  redis.call('HSET', task_key(task), 'failed_on', node, 'failed_at', now, 'failed_code', code)
  move(job, task, from, 'ready')
  tell_task(job, task, 'ready', detail)
  redis.call('HSET', task_key(task), 'node', '', 'slot', '', 'progress', '')
end

-- Whether one of the farm's own nodes was heard of lately that works on a device class.
local function has_own_node(class, now)
  for _, node in ipairs(redis.call('SMEMBERS', 'farm:owner:admin:nodes')) do
    local own, seen = get('farm:node:' .. node, 'own', 'last_seen')
    if own == '1' and tonumber(now) - tonumber(seen or 0) < OWN_NODE_SECONDS
      and redis.call('ZSCORE', 'farm:node:' .. node .. ':audits', class) then
      return true
    end
  end
  return false
end

-- A ready task that only own nodes may take from now on.
local function keep_for_own(job, task)
  local lane, order = get(task_key(task), 'lane', 'order')
  redis.call('ZREM', lane_key(job, lane), task)
  redis.call('HSET', task_key(task), 'lane', 'kept')
  redis.call('ZADD', lane_key(job, 'kept'), order, task)
end

-- Keeps why a task went wrong; `failure` as JSON.
local function note_failure(task, failure)
  local failures = cjson.decode(filled(redis.call('HGET', task_key(task), 'failures')) or '[]')
  table.insert(failures, cjson.decode(failure))
  if #failures > FAILURES_KEPT then table.remove(failures, 1) end
  redis.call('HSET', task_key(task), 'failures', cjson.encode(failures))
end

-- A node's speed is known by the units of its accepted tiles over their render seconds. `sign` '-' takes
-- a tile back.
local function count_speed(task, sign, seconds)
  local node, units = get(task_key(task), 'node', 'units')
  if not filled(units) then return end
  redis.call('HINCRBY', 'farm:node:' .. node, 'work_units', sign .. units)
  redis.call('HINCRBYFLOAT', 'farm:node:' .. node, 'work_seconds', sign .. seconds)
end

-- Accepts a task's result, which is already stored with it, and all that follows for its frame.
local function accept(job, task, from, now)
  local frame, lane, seconds = get(task_key(task), 'frame', 'lane', 'render_seconds')
  local key = frame_key(job, frame)
  move(job, task, from, 'accepted')
  tell_task(job, task, 'accepted')
  redis.call('HINCRBYFLOAT', job_key(job), 'render_seconds', seconds)
  local of_frame = redis.call('HINCRBYFLOAT', key, 'render_seconds', seconds)
  if lane ~= 'finish' then
    enter_accepted(job, task, frame)
    count_speed(task, '', seconds)
    note_delivery(job_key(job), task_key(task))
    local accepted = redis.call('HINCRBY', key, 'accepted', 1)
    local tiles, finish = get(key, 'tiles', 'finish')
    if filled(finish) and accepted == tonumber(tiles) then
      move(job, finish, 'waiting', 'ready')
      tell_task(job, finish, 'ready')
    end
  end
  if lane == 'finish' or lane == 'final' then
    local token, result = get(task_key(task), 'token', 'result')
    local files = cjson.decode(result).files
    redis.call('HSET', key, 'state', 'done', 'files', cjson.encode(files), 'by', task, 'by_token', token,
      'done_at', now)
    redis.call('HINCRBY', job_key(job), 'frames_done', 1)
    settle_frame(job, frame)
    tell(job, 'frame', { frame = tonumber(frame), state = 'done', files = files, by = task,
      by_token = tonumber(token), render_seconds = tonumber(of_frame),
      tiles = tonumber(redis.call('HGET', key, 'tiles')) })
  end
end

-- Takes an accepted tile back: it is rendered again. The frame's finish task is the caller's business.
local function take_back(job, tile, now, code, sentence)
  local frame, seconds, token, units = get(task_key(tile), 'frame', 'render_seconds', 'token', 'units')
  if filled(units) then enter(job, entry('returned', { task = tile, token = tonumber(token) })) end
  count_speed(tile, '-', seconds)
  back_to_ready(job, tile, 'accepted', now, code, sentence)
  redis.call('HSET', task_key(tile), 'result', '', 'digest', '')
  redis.call('HINCRBY', frame_key(job, frame), 'accepted', -1)
  redis.call('HINCRBYFLOAT', frame_key(job, frame), 'render_seconds', '-' .. seconds)
  redis.call('HINCRBYFLOAT', job_key(job), 'render_seconds', '-' .. seconds)
end

-- An accepted tile that nobody needs any more is not paid for.
local function drop_accepted(job, tile)
  local frame, seconds, token, units = get(task_key(tile), 'frame', 'render_seconds', 'token', 'units')
  if filled(units) then enter(job, entry('returned', { task = tile, token = tonumber(token) })) end
  count_speed(tile, '-', seconds)
  move(job, tile, 'accepted', 'cancelled')
  redis.call('HINCRBYFLOAT', frame_key(job, frame), 'render_seconds', '-' .. seconds)
  redis.call('HINCRBYFLOAT', job_key(job), 'render_seconds', '-' .. seconds)
end

-- One task in place of all of a frame's: an own node's Blender renders and writes it whole. What was accepted
-- stays so, and stays paid for.
local function replace_by_whole(job, frame)
  local key = frame_key(job, frame)
  local members = tiles_of(job, frame)
  local record, order = get(task_key(members[1]), 'task', 'order')
  record = cjson.decode(record)
  table.insert(members, filled(redis.call('HGET', key, 'finish')))
  cancel_unfinished(job, members)
  for _, task in ipairs(members) do redis.call('HSET', task_key(task), 'replaced', 1) end
  if redis.call('HGET', key, 'state') == 'done' then
    redis.call('HINCRBY', job_key(job), 'frames_done', -1)
    redis.call('HDEL', key, 'files', 'by', 'by_token', 'done_at')
    tell(job, 'frame', { frame = tonumber(frame), state = 'rendering', tiles = 1 })
  end
  local id = job .. '.f' .. frame .. '.whole'
  record.id, record.kind, record.overscan, record.output = id, 'render', 0, 'final'
  record.tile = cjson.decode(redis.call('HGET', job_key(job), 'area'))
  redis.call('HSET', task_key(id), 'task', cjson.encode(record), 'job', job, 'kind', 'render', 'lane', 'final',
    'frame', frame, 'order', order, 'state', 'ready')
  redis.call('HSET', key, 'state', 'rendering', 'whole', 1, 'tiles', 1, 'accepted', 0, 'finish', '',
    'tasks', cjson.encode({ id }))
  redis.call('RPUSH', job_key(job) .. ':tasks', id)
  redis.call('ZADD', lane_key(job, 'final'), order, id)
  for _, counter in ipairs({ 'total', 'ready', 'rendering' }) do redis.call('HINCRBY', job_key(job), counter, 1) end
end

local function is_replaced(job, frame, scope)
  local state, whole, tasks = get(frame_key(job, frame), 'state', 'whole', 'tasks')
  if whole == '1' or state == 'failed' then return false end
  if redis.call('HGET', task_key(cjson.decode(tasks)[1]), 'lane') == 'final' then return false end
  return state == 'rendering' or scope == 'all' or (scope == 'tiled' and #cjson.decode(tasks) > 1)
end

-- From here on the job's frames are rendered whole: `why` is {sentence, scope, approximate}, scope 'open'
-- (frames that are not done), 'tiled' (also done ones that were cut) or 'all'. Repeating it is harmless. Where
-- no own node works on the job's device class the pin is let go: better another class than none.
local function fall_back(job, why, now)
  local key = job_key(job)
  local cancel, given_up, reason, fallback, pin =
    get(key, 'cancel', 'given_up', 'reason', 'fallback', 'device_class')
  if cancel == '1' or given_up == '1' then return end
  for _, frame in ipairs(redis.call('LRANGE', key .. ':frames', 0, -1)) do
    if is_replaced(job, frame, why.scope) then replace_by_whole(job, frame) end
  end
  redis.call('HSET', key, 'croppable', 0)
  if filled(pin) and not has_own_node(pin, now) then redis.call('HSET', key, 'device_class', '') end
  if why.approximate then redis.call('HSET', key, 'exactness', 'approximate', 'any_order', 'approximate') end
  if filled(fallback) then return end
  redis.call('HSET', key, 'fallback', why.sentence, 'fallback_at', now, 'reason', (reason or '') .. ' ' .. why.sentence)
  tell(job, 'notice', { detail = why.sentence })
end
