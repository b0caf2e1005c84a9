-- Deletes a scene's record, unless it was used meanwhile. Its blobs are another matter.

local key = scene_key(arg.owner, arg.scene)
local used = filled(redis.call('HGET', key, 'used'))
if used and tonumber(used) < tonumber(arg.before) then
  redis.call('UNLINK', key, key .. ':waiting')
  redis.call('ZREM', 'farm:owner:' .. arg.owner .. ':manifests', arg.scene)
end
