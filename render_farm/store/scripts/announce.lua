-- Counts blobs that an owner is given links for, or has: each once, whether it is brought or not, with the
-- largest size that was ever told for it.
--
-- KEYS[1]  farm:owner:{owner}:announced   hash: sha256 to size of everything that was counted
-- KEYS[2]  farm:owner:{owner}:bytes       string: bytes in all
-- ARGV[1]  bytes that the owner may have in all, 0 for any number
-- ARGV     from the second on: sha256, size, sha256, size, ...
-- Returns  1, or 0 where it would be too many: then nothing is counted

local more, new = 0, {}
for index = 2, #ARGV, 2 do
  local counted = tonumber(redis.call('HGET', KEYS[1], ARGV[index]) or -1)
  if tonumber(ARGV[index + 1]) > counted then
    more = more + ARGV[index + 1] - math.max(counted, 0)
    table.insert(new, ARGV[index])
    table.insert(new, ARGV[index + 1])
  end
end
local has, most = tonumber(redis.call('GET', KEYS[2]) or 0), tonumber(ARGV[1])
if most > 0 and more > 0 and has + more > most then return 0 end
if #new > 0 then redis.call('HSET', KEYS[1], unpack(new)) end
redis.call('INCRBY', KEYS[2], string.format('%.0f', more))
return 1
