-- Creates an owner or a node with its token, or finds the one an earlier try created.
--
-- KEYS[1]  farm:owner:{owner} or farm:node:{node}   the new one
-- KEYS[2]  farm:token:{digest}                      its token, by the token's sha256
-- KEYS[3]  farm:owner:{caller}:again:{key}          what the Idempotency-Key made before
-- KEYS[4]  farm:owner:{owner}:nodes                 the owner's nodes, or farm:owners for an owner
-- KEYS[5]  farm:owner:{owner}:tokens                whose token it is
-- ARGV[1]  id
-- ARGV[2]  digest of what is asked for
-- ARGV[3]  seconds the key is remembered, 0 without a key
-- ARGV[4]  JSON object: fields of KEYS[1]
-- ARGV[5]  JSON object: fields of KEYS[2]
-- ARGV[6]  digest of the token
-- Returns  {'created', id} | {'again', id} | {'other', id} (same key, another request)
--          | {'revoked', id} (what the key made was taken back, or has ended)

local remembered = ARGV[3] ~= '0' and redis.call('HMGET', KEYS[3], 'id', 'digest')
if remembered and remembered[1] and remembered[2] ~= ARGV[2] then return { 'other', remembered[1] } end
-- A key makes the same token each time, long after it is forgotten too: what was taken back stays so.
local known = redis.call('HMGET', KEYS[2], 'role', 'revoked', 'ends')
local now, ends = tonumber(cjson.decode(ARGV[5]).made), tonumber(known[3] or '')
if filled(known[2]) or (ends and ends <= now) then return { 'revoked', ARGV[1] } end
if remembered and remembered[1] then return { 'again', remembered[1] } end
for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', KEYS[1], field, value) end
if not filled(known[1]) then
  for field, value in pairs(cjson.decode(ARGV[5])) do redis.call('HSET', KEYS[2], field, value) end
end
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('SADD', KEYS[5], ARGV[6])
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[3], 'id', ARGV[1], 'digest', ARGV[2])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
return { 'created', ARGV[1] }
