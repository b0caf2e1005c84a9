-- Forgets blobs that no scene of an owner needs any more.

local of_owner = 'farm:owner:' .. arg.owner
for _, sha in ipairs(arg.blobs) do
  local size = redis.call('HGET', of_owner .. ':announced', sha)
  if size then redis.call('DECRBY', of_owner .. ':bytes', size) end
  redis.call('HDEL', of_owner .. ':announced', sha)
  redis.call('HDEL', of_owner .. ':blobs', sha)
  redis.call('SADD', of_owner .. ':going', sha)
end
