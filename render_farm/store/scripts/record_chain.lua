-- Adds to the books what the chain says, together with how far it was read.
--
-- KEYS[1]  farm:money:cursor
-- ARGV[1]  how far it was read before
-- ARGV[2]  how far it is read now
-- ARGV[3]  JSON list of {job, {entry (JSON), ...}}
-- Returns  1, or 0 where somebody read on meanwhile: nothing is added

if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
for _, of_job in ipairs(cjson.decode(ARGV[3])) do
  local job, entries = unpack(of_job)
  for _, text in ipairs(entries) do redis.call('RPUSH', job_key(job) .. ':chain', text) end
  ring_money(job)
end
return 1
