-- Ends some of the tasks of a job that was cancelled or given up, where there were too many to end at once.
--
-- KEYS[1]  farm:jobs:ending
-- ARGV[1]  job id
-- ARGV[2]  how many at most
-- Returns  1 where there are more, else 0

return end_some(ARGV[1], tonumber(ARGV[2])) and 1 or 0
