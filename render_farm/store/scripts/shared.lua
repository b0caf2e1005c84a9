-- SPDX-License-Identifier: GPL-3.0-or-later
-- Stands before every other script. Keys reached from here are derived from the ids the script was
-- given, since a task leads to its job, its frame and its node:
--
--   farm:task:{task}           hash: task (JSON), job, kind, lane, frame, order, state, token, node,
--                              slot, class (of the slot), attempts, faults, failures (JSON list), failed_on, failed_at,
--                              failed_code, progress (JSON), result (JSON), digest, render_seconds;
--                              what is absent is 0 or empty
--   farm:job:{job}             hash: the job's record; counters total, waiting, ready, leased, accepted,
--                              failed, cancelled, rendering (unfinished tasks other than finish),
--                              frames_total, frames_done, frames_failed, render_seconds; intents cancel,
--                              pause; device_class (the pin); rank; announced (last state in events)
--   farm:job:{job}:ready:{lane}  sorted set: ready tasks by their order; a lane is render, final (Blender
--                              writes the files), finish, audit or probe
--   farm:job:{job}:tasks       list: task ids in order
--   farm:job:{job}:events      stream: events, capped
--   farm:frame:{job}:{frame}   hash: tiles (count), accepted (count), tasks (JSON list of tile ids),
--                              finish (task id or ''), state, render_seconds, files (JSON), by (task id),
--                              by_token
--   farm:node:{node}:leases    set: tasks the node holds
--   farm:leases                sorted set: leased tasks by the time their lease ends
--   farm:jobs:open             sorted set: jobs with ready tasks, not paused or cancelled, by rank

local EVENTS_KEPT = 20000
local BROKEN_FRAMES = 3
local FAILURES_KEPT = 20
local UNFINISHED = { waiting = true, ready = true, leased = true }

local function task_key(task) return 'farm:task:' .. task end
local function job_key(job) return 'farm:job:' .. job end
local function lane_key(job, lane) return 'farm:job:' .. job .. ':ready:' .. lane end
local function frame_key(job, frame) return 'farm:frame:' .. job .. ':' .. frame end

local function get(key, ...)
  return unpack(redis.call('HMGET', key, ...))
end

local function filled(value)
  if value == false or value == nil or value == '' then return nil end
  return value
end

local function tell(job, name, data)
  redis.call('XADD', job_key(job) .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*',
    'event', name, 'data', cjson.encode(data))
end

local function tell_task(job, task, state, detail)
  local kind, frame, node, slot = get(task_key(task), 'kind', 'frame', 'node', 'slot')
  tell(job, 'task', {
    task = task, kind = kind, frame = tonumber(frame), state = state,
    node = filled(node) or cjson.null, slot = filled(slot) or cjson.null, detail = detail or '',
  })
end

-- Moves a task between states with all that hangs on it: counters, its lane, its lease.
local function move(job, task, from, to)
  local kind, lane, order, node = get(task_key(task), 'kind', 'lane', 'order', 'node')
  redis.call('HSET', task_key(task), 'state', to)
  redis.call('HINCRBY', job_key(job), from, -1)
  redis.call('HINCRBY', job_key(job), to, 1)
  if kind ~= 'finish' and UNFINISHED[from] ~= UNFINISHED[to] then
    redis.call('HINCRBY', job_key(job), 'rendering', UNFINISHED[to] and 1 or -1)
  end
  if to == 'ready' then redis.call('ZADD', lane_key(job, lane), order, task) end
  if from == 'ready' then redis.call('ZREM', lane_key(job, lane), task) end
  if from == 'leased' then
    redis.call('ZREM', 'farm:leases', task)
    redis.call('SREM', 'farm:node:' .. node .. ':leases', task)
  end
end

local function job_state(job)
  local cancel, pause, waiting, ready, leased, rendering, failed, broken = get(job_key(job),
    'cancel', 'pause', 'waiting', 'ready', 'leased', 'rendering', 'failed', 'frames_failed')
  if cancel == '1' then return 'cancelled' end
  if tonumber(waiting) + tonumber(ready) + tonumber(leased) == 0 then
    if tonumber(failed) + tonumber(broken) > 0 then return 'failed' end
    return 'complete'
  end
  if pause == '1' then return 'paused' end
  if tonumber(rendering) == 0 then return 'finishing' end
  return 'rendering'
end

-- Every script that changed a job ends with this: is it open to nodes, has its state changed?
local function settle(job)
  local state = job_state(job)
  local ready, rank, announced = get(job_key(job), 'ready', 'rank', 'announced')
  if tonumber(ready) > 0 and (state == 'rendering' or state == 'finishing') then
    redis.call('ZADD', 'farm:jobs:open', rank, job)
  else
    redis.call('ZREM', 'farm:jobs:open', job)
  end
  if state ~= announced then
    redis.call('HSET', job_key(job), 'announced', state)
    tell(job, 'job', { state = state })
  end
end

local function cancel_unfinished(job, tasks)
  for _, task in ipairs(tasks) do
    local state = redis.call('HGET', task_key(task), 'state')
    if UNFINISHED[state] then
      move(job, task, state, 'cancelled')
      if state == 'leased' then tell_task(job, task, 'cancelled') end
    end
  end
end

-- The same for a whole job, with little done for each task: there may be a hundred thousand.
local function cancel_job(job)
  local key = job_key(job)
  for _, task in ipairs(redis.call('LRANGE', key .. ':tasks', 0, -1)) do
    local state = redis.call('HGET', task_key(task), 'state')
    if state == 'leased' then
      move(job, task, state, 'cancelled')
      tell_task(job, task, 'cancelled')
    elseif UNFINISHED[state] then
      redis.call('HSET', task_key(task), 'state', 'cancelled')
    end
  end
  local waiting, ready = get(key, 'waiting', 'ready')
  redis.call('HINCRBY', key, 'cancelled', tonumber(waiting) + tonumber(ready))
  redis.call('HSET', key, 'waiting', 0, 'ready', 0, 'rendering', 0)
  for _, lane in ipairs({ 'render', 'final', 'finish', 'audit', 'probe' }) do
    redis.call('DEL', lane_key(job, lane))
  end
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
  redis.call('HSETNX', job_key(job), 'failure', sentence)
  local broken = redis.call('HINCRBY', job_key(job), 'frames_failed', 1)
  tell(job, 'frame', { frame = tonumber(frame), state = 'failed', detail = sentence,
    tiles = tonumber(redis.call('HGET', key, 'tiles')) })
  if broken >= BROKEN_FRAMES and redis.call('HGET', job_key(job), 'frames_done') == '0' then
    cancel_job(job)
  end
end

-- The job of a task that this node holds under this token now, or nil.
local function held(task, token, node)
  local job, state, live, holder = get(task_key(task), 'job', 'state', 'token', 'node')
  if state == 'leased' and live == token and holder == node then return job end
  return nil
end

-- Puts a leased or accepted task back, remembering on whose machine it went wrong.
local function back_to_ready(job, task, from, now, code, detail)
  local node = redis.call('HGET', task_key(task), 'node')
  redis.call('HSET', task_key(task), 'failed_on', node, 'failed_at', now, 'failed_code', code)
  move(job, task, from, 'ready')
  tell_task(job, task, 'ready', detail)
  redis.call('HSET', task_key(task), 'node', '', 'slot', '', 'progress', '')
end
