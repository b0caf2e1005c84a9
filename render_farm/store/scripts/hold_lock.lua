-- Holds the lock of the one process that keeps the books, which ends by itself, or goes on holding it; 0 milliseconds
-- let it go.
--
-- Returns  1 where it is held now (or was let go), 0 where somebody else holds it

local key = 'farm:money:lock'
local holder = redis.call('GET', key)
if holder and holder ~= arg.who then
  -- No lock lasts longer than it was made for: where it seems to, the server's clock went back.
  if tonumber(arg.milliseconds) > 0 and redis.call('PTTL', key) > tonumber(arg.milliseconds) then
    redis.call('PEXPIRE', key, arg.milliseconds)
  end
  return 0
end
if arg.milliseconds == '0' then
  redis.call('DEL', key)
else
  redis.call('SET', key, arg.who, 'PX', arg.milliseconds)
end
return 1
