-- Binds the address a node signs with to its token, for good.
--
-- KEYS[1]  farm:node:{node}
-- KEYS[2]  farm:address:{address, in small letters}   whose address it is
-- ARGV[1]  address
-- ARGV[2]  operator: the node's owner
-- Returns  'bound' | 'other' (the node has another address) | 'taken' (another operator's)

local address = redis.call('HGET', KEYS[1], 'address')
if filled(address) and address:lower() ~= ARGV[1]:lower() then return 'other' end
local operator = redis.call('GET', KEYS[2])
if operator and operator ~= ARGV[2] then return 'taken' end
redis.call('SET', KEYS[2], ARGV[2])
if not filled(address) then redis.call('HSET', KEYS[1], 'address', ARGV[1]) end
return 'bound'
