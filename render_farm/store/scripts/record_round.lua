-- uses verification.lua
-- Fixes the value of a beacon round that the log was closed for.
--
-- Returns  {'recorded' | 'again' | 'early' (it is not closed, or a lower one comes first), value, beacon signature}

local key = 'farm:round:' .. arg.round
local value, size, signature = get(key, 'value', 'size', 'beacon_signature')
if value then return { 'again', value, signature } end
local first = redis.call('ZRANGE', 'farm:rounds', 0, 0)[1]
if not size or (first and tonumber(first) < tonumber(arg.round)) then return { 'early', '', '' } end
redis.call('HSET', key, 'value', arg.value, 'beacon_signature', arg.beacon_signature)
return { 'recorded', arg.value, arg.beacon_signature }
