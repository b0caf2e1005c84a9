-- Forgets blobs that no scene of an owner needs any more.
--
-- KEYS[1]  farm:owner:{owner}:announced
-- KEYS[2]  farm:owner:{owner}:bytes
-- KEYS[3]  farm:owner:{owner}:blobs
-- KEYS[4]  farm:owner:{owner}:going   set: blobs that are counted no more and whose objects are to be deleted
-- ARGV     sha256 of each

for _, sha in ipairs(ARGV) do
  local size = redis.call('HGET', KEYS[1], sha)
  if size then redis.call('DECRBY', KEYS[2], size) end
  redis.call('HDEL', KEYS[1], sha)
  redis.call('HDEL', KEYS[3], sha)
  redis.call('SADD', KEYS[4], sha)
end
