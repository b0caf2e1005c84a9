-- Makes a job whose tasks and frames were written (add_tasks.lua), or finds the one an earlier try under the
-- same key made.
--
-- Returns  {'created', job} | {'again', job} | {'other', job} (same key, another request) |
--          {'jobs' | 'tasks', how many the owner has} (no room for it)

local job, digest, again = arg.job, arg.asked, arg.again
local key, going_on = job_key(job), arg.going_on
local remembered = arg.remembered ~= '0' and redis.call('HMGET', again, 'job', 'digest')
if remembered and remembered[1] then
  return { remembered[2] == digest and 'again' or 'other', remembered[1] }
end
if redis.call('EXISTS', key) == 1 then return { 'again', job } end

local total, waiting, most_jobs, most_tasks = arg.total, arg.waiting, tonumber(arg.most_jobs), tonumber(arg.most_tasks)
local jobs, tasks = redis.call('ZCARD', going_on), 0
if most_jobs > 0 and jobs >= most_jobs then return { 'jobs', tostring(jobs) } end
if most_tasks > 0 then
  local of_jobs = redis.call('ZRANGE', going_on, 0, -1, 'WITHSCORES')
  for index = 2, #of_jobs, 2 do tasks = tasks + of_jobs[index] end
  if tasks + total > most_tasks then return { 'tasks', tostring(tasks) } end
end

for field, value in pairs(arg.fields) do redis.call('HSET', key, field, value) end
redis.call('HSET', key, 'total', total, 'waiting', waiting, 'ready', total - waiting, 'leased', 0,
  'submitted', 0, 'auditing', 0, 'accepted', 0, 'failed', 0, 'cancelled', 0, 'rendering', total - waiting,
  'frames_total', arg.frames, 'frames_done', 0, 'frames_failed', 0, 'render_seconds', 0, 'cancel', 0, 'pause', 0,
  'announced', '')
for _, list in ipairs(arg.lists) do redis.call('ZADD', list, arg.created, job) end
if is_paid(job) then redis.call('ZADD', 'farm:jobs:paid', arg.created, job) end
if arg.remembered ~= '0' then
  redis.call('HSET', again, 'job', job, 'digest', digest)
  redis.call('EXPIRE', again, arg.remembered)
end
redis.call('ZREM', 'farm:jobs:making', job)
settle(job)
return { 'created', job }
