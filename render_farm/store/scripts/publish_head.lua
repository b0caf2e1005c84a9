-- uses verification.lua
-- Keeps the signed head of a round that is closed, and tells it to the jobs that the round decides about.
--
-- KEYS[1]  farm:round:{round}
-- KEYS[2]  farm:log:head
-- ARGV[1]  round
-- ARGV[2]  the head (JSON SignedHead)
-- Returns  1, or 0 where it was kept before

if redis.call('HSETNX', KEYS[1], 'head', ARGV[2]) == 0 then return 0 end
local newest = redis.call('GET', KEYS[2])
if not newest or cjson.decode(newest).round < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[2]) end
local told = {}
for _, entry in ipairs(redis.call('LRANGE', 'farm:round:' .. ARGV[1] .. ':waiting', 0, -1)) do
  local job = redis.call('HGET', submission_key(entry:match('^(%S+) (%S+)$')), 'job')
  if job and not told[job] then
    told[job] = true
    tell(job, 'head', cjson.decode(ARGV[2]))
  end
end
return 1
