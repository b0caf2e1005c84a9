-- Stores what the owner wants of a job: cancel, pause or resume.
--
-- KEYS[1]  farm:job:{job}
-- ARGV[1]  job id
-- ARGV[2]  'cancel' | 'pause' | 'resume'
-- Returns  the job's state afterwards, or nil where there is no such job
-- A finished job is left as it is. Cancelling ends all leases of the job at once.

local job, intent = ARGV[1], ARGV[2]
if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
local state = job_state(job)
if ENDED[state] then return state end
if intent == 'cancel' then
  redis.call('HSET', KEYS[1], 'cancel', 1)
  cancel_job(job)
else
  redis.call('HSET', KEYS[1], 'pause', intent == 'pause' and 1 or 0)
end
settle(job)
return job_state(job)
