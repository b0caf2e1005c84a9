-- uses verification.lua
-- A node signed another picture under a lease it has submitted for: both signatures are kept.
--
-- KEYS[1]  farm:submission:{task}:{token}
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  the second attestation (JSON)
-- ARGV[4]  its signature
-- ARGV[5]  verdict (JSON)
-- ARGV[6]  failure (JSON) for the task
-- ARGV[7]  now, seconds
-- Returns  'kept' | 'again' (one was kept before) | 'gone'

local task, token, now = ARGV[1], ARGV[2], ARGV[7]
local job, before = get(KEYS[1], 'job', 'second')
if not job then return 'gone' end
if before then return 'again' end
redis.call('HSET', KEYS[1], 'second', ARGV[3], 'second_signature', ARGV[4])
local state, live = get(task_key(task), 'state', 'token')
-- The verdict about a frame that is done stays as it was: its receipt tells what was delivered.
if live == token and (state ~= 'accepted' or frame_is_open(job, task)) then
  redis.call('HSET', KEYS[1], 'verdict', ARGV[5])
end
reject_submission(job, task, token, now, cjson.decode(ARGV[5]), ARGV[6])
settle(job)
return 'kept'
