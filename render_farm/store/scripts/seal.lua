-- Seals a scene: its blobs were checked and are there.
--
-- KEYS[1]  farm:owner:{owner}:scene:{scene}
-- KEYS[2]  farm:owner:{owner}:blobs
-- ARGV     sha256, size, sha256, size, ... of the blobs that were checked just now
-- Returns  1

for index = 1, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end
redis.call('HSET', KEYS[1], 'sealed', 1)
return 1
