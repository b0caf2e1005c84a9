-- Holds a lock that ends by itself, or goes on holding it.
--
-- KEYS[1]  the lock
-- ARGV[1]  who
-- ARGV[2]  for how many milliseconds, 0 lets it go
-- Returns  1 where it is held now (or was let go), 0 where somebody else holds it

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  -- No lock lasts longer than it was made for: where it seems to, the server's clock went back.
  if tonumber(ARGV[2]) > 0 and redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
