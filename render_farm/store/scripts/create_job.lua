-- Creates a job with all its tasks, or finds the one an earlier try under the same key created.
--
-- KEYS[1]  farm:job:{job}                     the new job
-- KEYS[2]  farm:owner:{owner}:again:{key}     what the Idempotency-Key made before ('' has none)
-- KEYS[3]  farm:jobs                          all jobs
-- KEYS[4]  farm:owner:{owner}:jobs            the owner's jobs
-- KEYS[5]  farm:owner:{owner}:same:{fp}       the owner's jobs of the same work
-- KEYS[6]  farm:jobs:paid                     paid jobs whose money is not all where it belongs
-- ARGV[1]  job id
-- ARGV[2]  digest of what is asked for, to tell another request under the same key
-- ARGV[3]  seconds the key is remembered, 0 without a key
-- ARGV[4]  JSON object: fields of the job's hash, all strings
-- ARGV[5]  time of creation in seconds
-- ARGV[6]  JSON list of tasks: {id, kind, lane, frame, task} where task is the record's JSON; of a paid job
--          also units and audit_units (strings) of tasks that are paid for
-- Returns  {'created', job} | {'again', job} | {'other', job} (same key, another request)

local job, digest = ARGV[1], ARGV[2]
local remembered = ARGV[3] ~= '0' and redis.call('HMGET', KEYS[2], 'job', 'digest')
if remembered and remembered[1] then
  return { remembered[2] == digest and 'again' or 'other', remembered[1] }
end
if redis.call('EXISTS', KEYS[1]) == 1 then return { 'again', job } end

for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', KEYS[1], field, value) end

local tasks = cjson.decode(ARGV[6])
local BATCH = 1000
local names, lanes, frames, order_of_frames = {}, {}, {}, {}
local ready, waiting = 0, 0
for order, task in ipairs(tasks) do
  local frame = frames[task.frame]
  if not frame then
    frame = { tiles = {}, finish = '' }
    frames[task.frame] = frame
    table.insert(order_of_frames, task.frame)
  end
  local state = 'ready'
  if task.kind == 'finish' then
    state, frame.finish, waiting = 'waiting', task.id, waiting + 1
  else
    ready = ready + 1
    table.insert(frame.tiles, task.id)
    lanes[task.lane] = lanes[task.lane] or {}
    table.insert(lanes[task.lane], order)
    table.insert(lanes[task.lane], task.id)
  end
  names[order] = task.id
  redis.call('HSET', task_key(task.id), 'task', task.task, 'job', job, 'kind', task.kind,
    'lane', task.lane, 'frame', task.frame, 'order', order, 'state', state)
  if task.units then
    redis.call('HSET', task_key(task.id), 'units', task.units, 'audit_units', task.audit_units)
    redis.call('HINCRBY', KEYS[1] .. ':units', task.frame, task.units)
  end
end
for first = 1, #names, BATCH do
  redis.call('RPUSH', KEYS[1] .. ':tasks', unpack(names, first, math.min(first + BATCH - 1, #names)))
end
for lane, pairs_of in pairs(lanes) do
  for first = 1, #pairs_of, BATCH do
    redis.call('ZADD', lane_key(job, lane), unpack(pairs_of, first, math.min(first + BATCH - 1, #pairs_of)))
  end
end
for _, number in ipairs(order_of_frames) do
  local frame = frames[number]
  redis.call('RPUSH', KEYS[1] .. ':frames', number)
  redis.call('HSET', frame_key(job, number), 'frame', number, 'tiles', #frame.tiles, 'accepted', 0,
    'tasks', cjson.encode(frame.tiles), 'finish', frame.finish, 'state', 'rendering', 'render_seconds', 0)
end
redis.call('HSET', KEYS[1], 'total', #tasks, 'waiting', waiting, 'ready', ready, 'leased', 0,
  'submitted', 0, 'auditing', 0, 'accepted', 0, 'failed', 0, 'cancelled', 0, 'rendering', ready, 'frames_total', #order_of_frames,
  'frames_done', 0, 'frames_failed', 0, 'render_seconds', 0, 'cancel', 0, 'pause', 0, 'announced', '')
redis.call('ZADD', KEYS[3], ARGV[5], job)
redis.call('ZADD', KEYS[4], ARGV[5], job)
redis.call('ZADD', KEYS[5], ARGV[5], job)
if is_paid(job) then redis.call('ZADD', KEYS[6], ARGV[5], job) end
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[2], 'job', job, 'digest', digest)
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
settle(job)
return { 'created', job }
