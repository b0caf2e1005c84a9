-- Keeps a scene's manifest, if the owner has room for it; notes that it is used.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- KEYS[2]  farm:owner:{owner}:manifests   sorted set: the owner's scenes by the bytes of their manifests
-- ARGV[1]  scene
-- ARGV[2]  manifest (JSON)
-- ARGV[3]  now, seconds
-- ARGV[4]  bytes that all of them may have, 0 for any number
-- Returns  'new' | 'known' (sealed or not) | 'full'

local is_new = redis.call('HEXISTS', KEYS[1], 'manifest') == 0
if is_new then
  local has, most = 0, tonumber(ARGV[4])
  local kept = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  for index = 2, #kept, 2 do has = has + kept[index] end
  if most > 0 and has + #ARGV[2] > most then return 'full' end
  redis.call('HSET', KEYS[1], 'manifest', ARGV[2])
  redis.call('ZADD', KEYS[2], #ARGV[2], ARGV[1])
end
redis.call('HSET', KEYS[1], 'used', ARGV[3])
return is_new and 'new' or 'known'
