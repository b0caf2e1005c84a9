-- Binds the address a node signs with to its token, for good.
--
-- Returns  'bound' | 'other' (the node has another address) | 'taken' (another operator's)

local key, signs = 'farm:node:' .. arg.node, 'farm:address:' .. arg.address:lower()
local address = redis.call('HGET', key, 'address')
if filled(address) and address:lower() ~= arg.address:lower() then return 'other' end
local operator = redis.call('GET', signs)
if operator and operator ~= arg.operator then return 'taken' end
redis.call('SET', signs, arg.operator)
if not filled(address) then redis.call('HSET', key, 'address', arg.address) end
return 'bound'
