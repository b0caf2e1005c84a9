-- Notes that a scene is used, if it is sealed.
--
-- Returns  1 if it is sealed, else 0

local key = scene_key(arg.owner, arg.scene)
if redis.call('HGET', key, 'sealed') ~= '1' then return 0 end
redis.call('HSET', key, 'used', arg.now)
return 1
