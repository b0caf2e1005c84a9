-- uses verification.lua
-- Closes the log for a beacon round: what it decides about are the leaves so far. Rounds are closed in order.
--
-- KEYS[1]  farm:rounds
-- KEYS[2]  farm:round:{round}
-- KEYS[3]  farm:log
-- ARGV[1]  round
-- ARGV[2]  '1' where the round's value may be known already
-- Returns  {'closed' | 'again' | 'early' (a lower one comes first), size}

local size = get(KEYS[2], 'size')
if size then return { 'again', tonumber(size) } end
local closed = filled(redis.call('GET', KEYS[1] .. ':closed')) or '0'
local first = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. closed, '(' .. ARGV[1], 'LIMIT', 0, 1)[1]
if first then return { 'early', 0 } end
size = redis.call('LLEN', KEYS[3])
redis.call('HSET', KEYS[2], 'size', size, 'late', ARGV[2])
redis.call('SET', KEYS[1] .. ':closed', ARGV[1])
return { 'closed', size }
