-- Writes some of the tasks and frames of a job that is being made. Nobody sees any of it before create_job.lua
-- made the job itself; a job that is never made is cleared away as one that ended (farm:jobs:leaving).

local job = arg.job
local key = job_key(job)
redis.call('ZADD', 'farm:jobs:making', arg.began, job)
for _, task in ipairs(arg.tasks) do
  redis.call('HSET', task_key(task.id), 'task', task.task, 'job', job, 'kind', task.kind, 'lane', task.lane,
    'frame', task.frame, 'order', task.order, 'state', task.kind == 'finish' and 'waiting' or 'ready')
  redis.call('RPUSH', key .. ':tasks', task.id)
  if task.kind ~= 'finish' then redis.call('ZADD', lane_key(job, task.lane), task.order, task.id) end
  if task.units then
    redis.call('HSET', task_key(task.id), 'units', task.units, 'audit_units', task.audit_units)
    redis.call('HINCRBY', key .. ':units', task.frame, task.units)
  end
end
for _, frame in ipairs(arg.frames) do
  redis.call('RPUSH', key .. ':frames', frame.frame)
  redis.call('HSET', frame_key(job, frame.frame), 'frame', frame.frame, 'tiles', frame.tiles, 'accepted', 0,
    'tasks', frame.tasks, 'finish', frame.finish, 'state', 'rendering', 'render_seconds', 0)
end
