-- Deletes a scene's record, unless it was used meanwhile. Its blobs are another matter.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- KEYS[2]  farm:owner:{owner}:scene:{scene}:waiting
-- KEYS[3]  farm:owner:{owner}:manifests
-- ARGV[1]  the time since which it must not have been used, seconds
-- ARGV[2]  scene

local used = filled(redis.call('HGET', KEYS[1], 'used'))
if used and tonumber(used) < tonumber(ARGV[1]) then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
end
