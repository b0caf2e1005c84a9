-- Counts blobs that an owner is given links for, or has: each once, whether it is brought or not, with the
-- largest size that was ever told for it.
--
-- Returns  1, or 0 where it would be too many: then nothing is counted

local of_owner = 'farm:owner:' .. arg.owner
local announced, bytes = of_owner .. ':announced', of_owner .. ':bytes'
local more, new = 0, {}
for sha, size in pairs(arg.sizes) do
  local counted = tonumber(redis.call('HGET', announced, sha) or -1)
  if size > counted then
    more = more + size - math.max(counted, 0)
    table.insert(new, sha)
    table.insert(new, size)
  end
end
local has, most = tonumber(redis.call('GET', bytes) or 0), tonumber(arg.most)
if most > 0 and more > 0 and has + more > most then return 0 end
if #new > 0 then redis.call('HSET', announced, unpack(new)) end
redis.call('INCRBY', bytes, string.format('%.0f', more))
return 1
