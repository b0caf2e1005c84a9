-- Creates an owner or a node with its token, or finds the one an earlier try created.
--
-- Returns  {'created', id} | {'again', id} | {'other', id} (same key, another request)
--          | {'revoked', id} (what the key made was taken back, or has ended)

local again, token = arg.again, 'farm:token:' .. arg.token
local remembered = arg.remembered ~= '0' and redis.call('HMGET', again, 'id', 'digest')
if remembered and remembered[1] and remembered[2] ~= arg.asked then return { 'other', remembered[1] } end
-- A key makes the same token each time, long after it is forgotten too: what was taken back stays so.
local known = redis.call('HMGET', token, 'role', 'revoked', 'ends')
local now, ends = tonumber(arg.whose.made), tonumber(known[3] or '')
if filled(known[2]) or (ends and ends <= now) then return { 'revoked', arg.id } end
if remembered and remembered[1] then return { 'again', remembered[1] } end
for field, value in pairs(arg.fields) do redis.call('HSET', arg.key, field, value) end
if not filled(known[1]) then
  for field, value in pairs(arg.whose) do redis.call('HSET', token, field, value) end
end
redis.call('SADD', arg.members, arg.id)
redis.call('SADD', 'farm:owner:' .. arg.whose.owner .. ':tokens', arg.token)
if arg.remembered ~= '0' then
  redis.call('HSET', again, 'id', arg.id, 'digest', arg.asked)
  redis.call('EXPIRE', again, arg.remembered)
end
return { 'created', arg.id }
