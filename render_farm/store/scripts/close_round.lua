-- uses verification.lua
-- Closes the log for a beacon round: what it decides about are the leaves so far. Rounds are closed in order.
--
-- Returns  {'closed' | 'again' | 'early' (a lower one comes first), size}

local key = 'farm:round:' .. arg.round
local size = get(key, 'size')
if size then return { 'again', tonumber(size) } end
local closed = filled(redis.call('GET', 'farm:rounds:closed')) or '0'
local first = redis.call('ZRANGEBYSCORE', 'farm:rounds', '(' .. closed, '(' .. arg.round, 'LIMIT', 0, 1)[1]
if first then return { 'early', 0 } end
size = redis.call('LLEN', 'farm:log')
redis.call('HSET', key, 'size', size, 'late', arg.late)
redis.call('SET', 'farm:rounds:closed', arg.round)
return { 'closed', size }
