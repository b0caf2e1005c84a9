-- Gives the holder of a token another one; the old one ends.
--
-- Returns  'rotated' | 'again' | 'other' (same key, another request)
--          | 'gone' (the old one ended before, or the new one was taken back since)

local again, old_key, new_key = arg.again, 'farm:token:' .. arg.old, 'farm:token:' .. arg.new
local remembered = arg.remembered ~= '0' and redis.call('HMGET', again, 'id', 'digest')
if remembered and remembered[1] and remembered[2] ~= arg.asked then return 'other' end
if filled(redis.call('HGET', new_key, 'revoked')) then return 'gone' end
if remembered and remembered[1] then return 'again' end
if filled(redis.call('HGET', new_key, 'role')) then return 'gone' end

local now, kept = tonumber(arg.now), { 'role', 'owner', 'node', 'own', 'lasts' }
local old = redis.call('HMGET', old_key, 'role', 'ends', 'revoked', 'lasts')
local ends, lasts = tonumber(old[2] or ''), tonumber(old[4] or '') or 0
if not filled(old[1]) or filled(old[3]) or (ends and ends <= now) then return 'gone' end
for _, field in ipairs(kept) do
  local value = redis.call('HGET', old_key, field)
  if value then redis.call('HSET', new_key, field, value) end
end
redis.call('HSET', new_key, 'made', arg.now, 'ends', lasts > 0 and string.format('%.3f', now + lasts) or '')
redis.call('SADD', 'farm:owner:' .. arg.owner .. ':tokens', arg.new)
local until_then = now + tonumber(arg.overlap)
if until_then <= now then
  redis.call('HSET', old_key, 'revoked', arg.now)
elseif not ends or until_then < ends then
  redis.call('HSET', old_key, 'ends', string.format('%.3f', until_then))
end
if arg.remembered ~= '0' then
  redis.call('HSET', again, 'id', arg.new, 'digest', arg.asked)
  redis.call('EXPIRE', again, arg.remembered)
end
return 'rotated'
