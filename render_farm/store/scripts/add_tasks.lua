-- Writes some of the tasks and frames of a job that is being made. Nobody sees any of it before create_job.lua
-- made the job itself; a job that is never made is cleared away as one that ended (farm:jobs:leaving).
--
-- KEYS[1]  farm:job:{job}
-- KEYS[2]  farm:jobs:making   jobs being made, by when that began
-- ARGV[1]  job id
-- ARGV[2]  when it began, seconds
-- ARGV[3]  JSON list of tasks: {id, kind, lane, frame, order, task} where task is the record's JSON; of a paid
--          job also units and audit_units (strings) of tasks that are paid for
-- ARGV[4]  JSON list of frames: {frame, tiles, tasks (JSON list of tile ids), finish}

local job = ARGV[1]
redis.call('ZADD', KEYS[2], ARGV[2], job)
for _, task in ipairs(cjson.decode(ARGV[3])) do
  redis.call('HSET', task_key(task.id), 'task', task.task, 'job', job, 'kind', task.kind, 'lane', task.lane,
    'frame', task.frame, 'order', task.order, 'state', task.kind == 'finish' and 'waiting' or 'ready')
  redis.call('RPUSH', KEYS[1] .. ':tasks', task.id)
  if task.kind ~= 'finish' then redis.call('ZADD', lane_key(job, task.lane), task.order, task.id) end
  if task.units then
    redis.call('HSET', task_key(task.id), 'units', task.units, 'audit_units', task.audit_units)
    redis.call('HINCRBY', KEYS[1] .. ':units', task.frame, task.units)
  end
end
for _, frame in ipairs(cjson.decode(ARGV[4])) do
  redis.call('RPUSH', KEYS[1] .. ':frames', frame.frame)
  redis.call('HSET', frame_key(job, frame.frame), 'frame', frame.frame, 'tiles', frame.tiles, 'accepted', 0,
    'tasks', frame.tasks, 'finish', frame.finish, 'state', 'rendering', 'render_seconds', 0)
end
