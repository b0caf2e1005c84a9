-- Stores what the owner wants of a job: cancel, pause or resume.
--
-- Returns  the job's state afterwards, or nil where there is no such job
-- A finished job is left as it is. Cancelling ends all leases of the job at once.

local job, intent = arg.job, arg.intent
if redis.call('EXISTS', job_key(job)) == 0 then return nil end
local state = job_state(job)
if ENDED[state] then return state end
if intent == 'cancel' then
  redis.call('HSET', job_key(job), 'cancel', 1)
  cancel_job(job)
else
  redis.call('HSET', job_key(job), 'pause', intent == 'pause' and 1 or 0)
end
settle(job)
return job_state(job)
