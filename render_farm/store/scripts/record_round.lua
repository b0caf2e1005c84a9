-- uses verification.lua
-- Fixes the value of a beacon round that the log was closed for.
--
-- KEYS[1]  farm:rounds
-- KEYS[2]  farm:round:{round}
-- ARGV[1]  round
-- ARGV[2]  its value (hexadecimal)
-- ARGV[3]  the public beacon's signature, '' for none
-- Returns  {'recorded' | 'again' | 'early' (it is not closed, or a lower one comes first), value, beacon signature}

local value, size, signature = get(KEYS[2], 'value', 'size', 'beacon_signature')
if value then return { 'again', value, signature } end
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if not size or (first and tonumber(first) < tonumber(ARGV[1])) then return { 'early', '', '' } end
redis.call('HSET', KEYS[2], 'value', ARGV[2], 'beacon_signature', ARGV[3])
return { 'recorded', ARGV[2], ARGV[3] }
