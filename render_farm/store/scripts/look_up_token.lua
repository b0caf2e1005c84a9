-- Looks up whose token it is, and notes that it was used.
--
-- Returns  {role, owner, node, own, ends}, what is absent as ''; {} for a token that nobody has, was taken
--          back or has ended

local key = 'farm:token:' .. arg.digest
local found = redis.call('HMGET', key, 'role', 'owner', 'node', 'own', 'ends', 'revoked')
local ends = found[5]
if not filled(found[1]) or filled(found[6]) then return {} end
if filled(ends) and tonumber(ends) <= tonumber(arg.now) then return {} end
redis.call('HSET', key, 'used', arg.now)
-- Tokens of before there were lists are listed from their next use on.
redis.call('SADD', 'farm:owner:' .. found[2] .. ':tokens', arg.digest)
return { found[1], found[2], found[3] or '', found[4] or '', ends or '' }
