-- One command that writes, for what was begun before: done though the store has as much as it may hold.
--
-- KEYS[1]  its key
-- ARGV     its name, and what comes after the key

return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))
