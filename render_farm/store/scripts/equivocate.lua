-- uses verification.lua
-- A node signed another picture under a lease it has submitted for: both signatures are kept.
--
-- Returns  'kept' | 'again' (one was kept before) | 'gone'

local task, token, now = arg.task, arg.token, arg.now
local key = submission_key(task, token)
local job, before = get(key, 'job', 'second')
if not job then return 'gone' end
if before then return 'again' end
redis.call('HSET', key, 'second', arg.second, 'second_signature', arg.signature)
local state, live = get(task_key(task), 'state', 'token')
-- The verdict about a frame that is done stays as it was: its receipt tells what was delivered.
if live == token and (state ~= 'accepted' or frame_is_open(job, task)) then
  redis.call('HSET', key, 'verdict', arg.verdict)
end
reject_submission(job, task, token, now, cjson.decode(arg.verdict), arg.failure)
settle(job)
return 'kept'
