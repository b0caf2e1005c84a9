-- uses verification.lua
-- A node could not do a task. Three faults of the scene's own fail it, where an own node says so, or two operators
-- of strangers' nodes twice each, or three; otherwise it is tried again.
--
-- Returns  'ready' | 'waiting' (a finish task whose tiles are rendered again) | 'failed' | 'stale' |
--          'cancelled' (an audit or a check that is not tried again; a task of tiles whose frame is rendered whole)

local task, now, code, sentence = arg.task, arg.now, arg.code, arg.sentence
local key = task_key(task)
local job = held(task, arg.token, arg.node)
if not job then return 'stale' end
local kind, frame, operator = get(key, 'kind', 'frame', 'held_by')
operator = filled(operator)
note_failure(task, arg.failure)
-- A scene that is broken costs nobody's node anything, and a node that calls all broken little of a job: who did
-- so too often gets no more of it.
if operator and arg.is_fault == '1' and not EXTRA[kind] then
  redis.call('HINCRBY', job_key(job) .. ':broken', operator, 1)
elseif operator then
  strike(arg.node, operator, now, 1, false)
end
if code == 'gpu_memory' then note_too_small(job, task) end
if EXTRA[kind] then
  local outcome = extra_failed(job, task, now, code, arg.is_fault == '1', sentence, arg.bad_inputs)
  settle(job)
  return outcome
end

local function reject(tile)
  local owner, state, of_frame, lane = get(task_key(tile), 'job', 'state', 'frame', 'lane')
  if owner ~= job or of_frame ~= frame or not TILE_LANES[lane] or state ~= 'accepted' then return false end
  take_back(job, tile, now, 'bad_input', sentence)
  return true
end

-- Strangers could call any scene broken: the last word is an own node's, where there is one to say it.
local function own_has_the_last_word()
  local lane, class = get(key, 'lane', 'class')
  return lane == 'render' and redis.call('HGET', 'farm:node:' .. arg.node, 'own') ~= '1' and has_own_node(class, now)
end

-- What cannot be done in tiles may be done by one Blender. Only an own node's word counts, as only its frames do.
local function can_be_whole()
  local lane = redis.call('HGET', key, 'lane')
  return arg.fallback and (lane == 'render' or kind == 'finish') and redis.call('HGET', 'farm:node:' .. arg.node, 'own') == '1'
end

-- One operator alone fails nothing, however many nodes it has.
local function is_agreed()
  if not operator then return true end
  local operators, words = 0, 0
  local said = redis.call('HVALS', key .. ':accusers')
  for _, count in ipairs(said) do
    operators, words = operators + 1, words + math.min(tonumber(count), 2)
  end
  return operators >= 3 or words >= 4
end

local state = 'ready'
local is_last = arg.is_fault == '1' and redis.call('HINCRBY', key, 'faults', 1) >= tonumber(arg.most_faults)
if arg.is_fault == '1' and operator then redis.call('HINCRBY', key .. ':accusers', operator, 1) end
local kept = is_last and own_has_the_last_word()
is_last = is_last and is_agreed()
if kept then
  back_to_ready(job, task, 'leased', now, code, sentence)
  keep_for_own(job, task)
elseif is_last and can_be_whole() then
  state = 'cancelled'
  fall_back(job, cjson.decode(arg.fallback), now)
elseif is_last then
  state = 'failed'
  move(job, task, 'leased', 'failed')
  tell_task(job, task, 'failed', sentence)
  break_frame(job, frame, 'Frame ' .. frame .. ' cannot be rendered: ' .. sentence)
else
  if kind == 'finish' then
    for _, tile in ipairs(arg.bad_inputs) do
      if reject(tile) then state = 'waiting' end
    end
  end
  back_to_ready(job, task, 'leased', now, code, sentence)
  if state == 'waiting' then move(job, task, 'ready', 'waiting') end
end
settle(job)
return state
