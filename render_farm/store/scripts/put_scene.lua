-- Keeps a scene's manifest, if the owner has room for it; notes that it is used.
--
-- Returns  'new' | 'known' (sealed or not) | 'full'

local key = scene_key(arg.owner, arg.scene)
local manifests = 'farm:owner:' .. arg.owner .. ':manifests'
local is_new = redis.call('HEXISTS', key, 'manifest') == 0
if is_new then
  local has, most = 0, tonumber(arg.most)
  local kept = redis.call('ZRANGE', manifests, 0, -1, 'WITHSCORES')
  for index = 2, #kept, 2 do has = has + kept[index] end
  if most > 0 and has + #arg.manifest > most then return 'full' end
  redis.call('HSET', key, 'manifest', arg.manifest)
  redis.call('ZADD', manifests, #arg.manifest, arg.scene)
end
redis.call('HSET', key, 'used', arg.now)
return is_new and 'new' or 'known'
