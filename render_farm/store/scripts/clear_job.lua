-- uses verification.lua
-- Deletes some of what is left of a job that is in no list any more. Repeating it is harmless.
--
-- Returns  1 where there is more, else 0
-- The log's leaves, rounds, agreements and promises stay: they are not the job's alone.

local job, limit = arg.job, tonumber(arg.limit)
local key = job_key(job)
local MOST_TOKENS = 1000

local function clear_submission(task, token)
  local submission = submission_key(task, token)
  local node, extras = get(submission, 'node', 'extras')
  if filled(node) then redis.call('UNLINK', key .. ':unaudited:' .. node) end
  for number = 1, tonumber(filled(extras) or 0) do
    for kind in pairs(EXTRA) do redis.call('UNLINK', task_key(task .. '.' .. token .. '.' .. kind .. number)) end
  end
  redis.call('UNLINK', submission)
end

local tasks = redis.call('LRANGE', key .. ':tasks', -limit, -1)
for _, task in ipairs(tasks) do
  local last = math.min(tonumber(filled(redis.call('HGET', task_key(task), 'token')) or 0), MOST_TOKENS)
  for token = 1, last do clear_submission(task, token) end
  redis.call('UNLINK', task_key(task), task_key(task) .. ':extras')
end
redis.call('LTRIM', key .. ':tasks', 0, -limit - 1)
local frames = redis.call('LRANGE', key .. ':frames', -limit, -1)
for _, frame in ipairs(frames) do redis.call('UNLINK', frame_key(job, frame)) end
redis.call('LTRIM', key .. ':frames', 0, -limit - 1)
if #tasks == limit or #frames == limit then return 1 end

for _, extra in ipairs(redis.call('SMEMBERS', key .. ':extras')) do redis.call('UNLINK', task_key(extra)) end
for _, node in ipairs(redis.call('SMEMBERS', key .. ':ordered')) do redis.call('UNLINK', order_key(job, node)) end
for _, lane in ipairs({ 'render', 'kept', 'final', 'finish', 'audit', 'check', 'probe' }) do
  redis.call('UNLINK', lane_key(job, lane))
end
for _, name in ipairs({ 'events', 'progress', 'broken', 'entries', 'chain', 'units', 'releases', 'orders', 'ordered', 'excluded', 'lies',
  'roots', 'rounds', 'submissions', 'too_small', 'extras' }) do
  redis.call('UNLINK', key .. ':' .. name)
end
redis.call('UNLINK', key)
redis.call('ZREM', 'farm:jobs:leaving', job)
redis.call('ZREM', 'farm:jobs:ending', job)
return 0
