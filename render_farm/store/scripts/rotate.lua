-- Gives the holder of a token another one; the old one ends.
--
-- KEYS[1]  farm:token:{old digest}
-- KEYS[2]  farm:token:{new digest}
-- KEYS[3]  farm:owner:{caller}:again:{key}          what the Idempotency-Key made before
-- KEYS[4]  farm:owner:{owner}:tokens                whose tokens they are
-- ARGV[1]  digest of the new token
-- ARGV[2]  digest of what is asked for
-- ARGV[3]  seconds the key is remembered, 0 without a key
-- ARGV[4]  now, in seconds
-- ARGV[5]  for how many seconds the old one still works; 0: not at all
-- Returns  'rotated' | 'again' | 'other' (same key, another request)
--          | 'gone' (the old one ended before, or the new one was taken back since)

local remembered = ARGV[3] ~= '0' and redis.call('HMGET', KEYS[3], 'id', 'digest')
if remembered and remembered[1] and remembered[2] ~= ARGV[2] then return 'other' end
if filled(redis.call('HGET', KEYS[2], 'revoked')) then return 'gone' end
if remembered and remembered[1] then return 'again' end
if filled(redis.call('HGET', KEYS[2], 'role')) then return 'gone' end

local now, kept = tonumber(ARGV[4]), { 'role', 'owner', 'node', 'own', 'lasts' }
local old = redis.call('HMGET', KEYS[1], 'role', 'ends', 'revoked', 'lasts')
local ends, lasts = tonumber(old[2] or ''), tonumber(old[4] or '') or 0
if not filled(old[1]) or filled(old[3]) or (ends and ends <= now) then return 'gone' end
for _, field in ipairs(kept) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then redis.call('HSET', KEYS[2], field, value) end
end
redis.call('HSET', KEYS[2], 'made', ARGV[4], 'ends', lasts > 0 and string.format('%.3f', now + lasts) or '')
redis.call('SADD', KEYS[4], ARGV[1])
local until_then = now + tonumber(ARGV[5])
if until_then <= now then
  redis.call('HSET', KEYS[1], 'revoked', ARGV[4])
elseif not ends or until_then < ends then
  redis.call('HSET', KEYS[1], 'ends', string.format('%.3f', until_then))
end
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[3], 'id', ARGV[1], 'digest', ARGV[2])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
return 'rotated'
