-- Keeps why nobody may take any of a job's tasks, and tells it when it changes.
--
-- Returns  '1' where it changed; not where somebody works on the job by now

local leased, extra, before = get(job_key(arg.job), 'leased', 'extra_leased', 'standstill')
if not leased or (before or '') == arg.sentence then return '0' end
if arg.sentence ~= '' and leased + (extra or 0) > 0 then return '0' end
redis.call('HSET', job_key(arg.job), 'standstill', arg.sentence)
tell(arg.job, 'notice', { detail = arg.sentence })
return '1'
