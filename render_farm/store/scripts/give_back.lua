-- A node could not do a task. Three faults of the scene's own fail it; otherwise it is tried again.
--
-- KEYS[1]  farm:task:{task}
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  node id
-- ARGV[4]  now, seconds
-- ARGV[5]  failure code
-- ARGV[6]  '1' if it counts against the scene
-- ARGV[7]  failure (JSON), kept with the task
-- ARGV[8]  the node's sentence
-- ARGV[9]  how many faults fail a task
-- ARGV[10] JSON list: tiles a finish task could not use, rendered again
-- Returns  'ready' | 'waiting' (a finish task whose tiles are rendered again) | 'failed' | 'stale'
-- Also changes farm:job:{job}, farm:frame:{job}:{frame}, other tasks of the frame, lanes and events.

local task, now, code, sentence = ARGV[1], ARGV[4], ARGV[5], ARGV[8]
local job = held(task, ARGV[2], ARGV[3])
if not job then return 'stale' end
local kind, frame, kept = get(KEYS[1], 'kind', 'frame', 'failures')
local failures = cjson.decode(kept or '[]')
table.insert(failures, cjson.decode(ARGV[7]))
if #failures > FAILURES_KEPT then table.remove(failures, 1) end
redis.call('HSET', KEYS[1], 'failures', cjson.encode(failures))

local function reject(tile)
  local owner, state, of_frame, lane, seconds =
    get(task_key(tile), 'job', 'state', 'frame', 'lane', 'render_seconds')
  if owner ~= job or of_frame ~= frame or lane ~= 'render' or state ~= 'accepted' then return false end
  back_to_ready(job, tile, 'accepted', now, 'bad_input', sentence)
  redis.call('HSET', task_key(tile), 'result', '', 'digest', '')
  redis.call('HINCRBY', frame_key(job, frame), 'accepted', -1)
  redis.call('HINCRBYFLOAT', frame_key(job, frame), 'render_seconds', '-' .. seconds)
  redis.call('HINCRBYFLOAT', job_key(job), 'render_seconds', '-' .. seconds)
  return true
end

local state = 'ready'
if ARGV[6] == '1' and redis.call('HINCRBY', KEYS[1], 'faults', 1) >= tonumber(ARGV[9]) then
  state = 'failed'
  move(job, task, 'leased', 'failed')
  tell_task(job, task, 'failed', sentence)
  break_frame(job, frame, 'Frame ' .. frame .. ' cannot be rendered: ' .. sentence)
else
  if kind == 'finish' then
    for _, tile in ipairs(cjson.decode(ARGV[10])) do
      if reject(tile) then state = 'waiting' end
    end
  end
  back_to_ready(job, task, 'leased', now, code, sentence)
  if state == 'waiting' then move(job, task, 'ready', 'waiting') end
end
settle(job)
return state
