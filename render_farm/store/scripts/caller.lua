-- Looks up whose token it is, and notes that it was used.
--
-- KEYS[1]  farm:token:{digest}
-- ARGV[1]  now, in seconds
-- ARGV[2]  the digest
-- Returns  {role, owner, node, own, ends}, what is absent as ''; {} for a token that nobody has, was taken
--          back or has ended

local found = redis.call('HMGET', KEYS[1], 'role', 'owner', 'node', 'own', 'ends', 'revoked')
local ends = found[5]
if not filled(found[1]) or filled(found[6]) then return {} end
if filled(ends) and tonumber(ends) <= tonumber(ARGV[1]) then return {} end
redis.call('HSET', KEYS[1], 'used', ARGV[1])
-- Tokens of before there were lists are listed from their next use on.
redis.call('SADD', 'farm:owner:' .. found[2] .. ':tokens', ARGV[2])
return { found[1], found[2], found[3] or '', found[4] or '', ends or '' }
