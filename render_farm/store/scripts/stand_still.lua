-- Keeps why nobody may take any of a job's tasks, and tells it when it changes.
--
-- KEYS[1]  farm:job:{job}
-- ARGV[1]  job id
-- ARGV[2]  the sentence, or ''
-- Returns  '1' where it changed; not where somebody works on the job by now

local leased, extra, before = get(KEYS[1], 'leased', 'extra_leased', 'standstill')
if not leased or (before or '') == ARGV[2] then return '0' end
if ARGV[2] ~= '' and leased + (extra or 0) > 0 then return '0' end
redis.call('HSET', KEYS[1], 'standstill', ARGV[2])
tell(ARGV[1], 'notice', { detail = ARGV[2] })
return '1'
