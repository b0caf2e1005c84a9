-- Makes a job whose tasks and frames were written (add_tasks.lua), or finds the one an earlier try under the
-- same key made.
--
-- KEYS[1]  farm:job:{job}                     the new job
-- KEYS[2]  farm:owner:{owner}:again:{key}     what the Idempotency-Key made before ('' has none)
-- KEYS[3]  farm:jobs                          all jobs
-- KEYS[4]  farm:owner:{owner}:jobs            the owner's jobs
-- KEYS[5]  farm:owner:{owner}:same:{fp}       the owner's jobs of the same work
-- KEYS[6]  farm:jobs:paid                     paid jobs whose money is not all where it belongs
-- KEYS[7]  farm:owner:{owner}:unfinished      the owner's unfinished jobs (or quotes), each with its tasks
-- KEYS[8]  farm:jobs:making                   jobs being made
-- ARGV[1]  job id
-- ARGV[2]  digest of what is asked for, to tell another request under the same key
-- ARGV[3]  seconds the key is remembered, 0 without a key
-- ARGV[4]  JSON object: fields of the job's hash, all strings
-- ARGV[5]  time of creation in seconds
-- ARGV[6]  how many tasks, ARGV[7] of them finish tasks, ARGV[8] how many frames
-- ARGV[9]  how many unfinished jobs the owner may have, ARGV[10] how many tasks of them; 0: any
-- Returns  {'created', job} | {'again', job} | {'other', job} (same key, another request) |
--          {'jobs' | 'tasks', how many the owner has} (no room for it)

local job, digest = ARGV[1], ARGV[2]
local remembered = ARGV[3] ~= '0' and redis.call('HMGET', KEYS[2], 'job', 'digest')
if remembered and remembered[1] then
  return { remembered[2] == digest and 'again' or 'other', remembered[1] }
end
if redis.call('EXISTS', KEYS[1]) == 1 then return { 'again', job } end

local total, waiting, most_jobs, most_tasks = ARGV[6], ARGV[7], tonumber(ARGV[9]), tonumber(ARGV[10])
local jobs, tasks = redis.call('ZCARD', KEYS[7]), 0
if most_jobs > 0 and jobs >= most_jobs then return { 'jobs', tostring(jobs) } end
if most_tasks > 0 then
  local of_jobs = redis.call('ZRANGE', KEYS[7], 0, -1, 'WITHSCORES')
  for index = 2, #of_jobs, 2 do tasks = tasks + of_jobs[index] end
  if tasks + total > most_tasks then return { 'tasks', tostring(tasks) } end
end

for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', KEYS[1], field, value) end
redis.call('HSET', KEYS[1], 'total', total, 'waiting', waiting, 'ready', total - waiting, 'leased', 0,
  'submitted', 0, 'auditing', 0, 'accepted', 0, 'failed', 0, 'cancelled', 0, 'rendering', total - waiting,
  'frames_total', ARGV[8], 'frames_done', 0, 'frames_failed', 0, 'render_seconds', 0, 'cancel', 0, 'pause', 0,
  'announced', '')
redis.call('ZADD', KEYS[3], ARGV[5], job)
redis.call('ZADD', KEYS[4], ARGV[5], job)
redis.call('ZADD', KEYS[5], ARGV[5], job)
if is_paid(job) then redis.call('ZADD', KEYS[6], ARGV[5], job) end
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[2], 'job', job, 'digest', digest)
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
redis.call('ZREM', KEYS[8], job)
settle(job)
return { 'created', job }
