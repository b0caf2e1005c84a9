-- uses verification.lua
-- Keeps the signed head of a round that is closed, and tells it to the jobs that the round decides about.
--
-- Returns  1, or 0 where it was kept before

if redis.call('HSETNX', 'farm:round:' .. arg.round, 'head', arg.head) == 0 then return 0 end
local newest = redis.call('GET', 'farm:log:head')
if not newest or cjson.decode(newest).round < tonumber(arg.round) then redis.call('SET', 'farm:log:head', arg.head) end
local told = {}
for _, entry in ipairs(redis.call('LRANGE', 'farm:round:' .. arg.round .. ':waiting', 0, -1)) do
  local job = redis.call('HGET', submission_key(entry:match('^(%S+) (%S+)$')), 'job')
  if job and not told[job] then
    told[job] = true
    tell(job, 'head', cjson.decode(arg.head))
  end
end
return 1
