-- Ends some of the tasks of a job that was cancelled or given up, where there were too many to end at once.
--
-- Returns  1 where there are more, else 0

return end_some(arg.job, tonumber(arg.limit)) and 1 or 0
