-- Adds to the books what the chain says, together with how far it was read.
--
-- Returns  1, or 0 where somebody read on meanwhile: nothing is added

if (redis.call('GET', 'farm:money:cursor') or '') ~= arg.before then return 0 end
redis.call('SET', 'farm:money:cursor', arg.cursor)
for job, entries in pairs(arg.entries) do
  for _, text in ipairs(entries) do redis.call('RPUSH', job_key(job) .. ':chain', text) end
  ring_money(job)
end
return 1
