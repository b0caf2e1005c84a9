-- One command that writes, for what was begun before: done though the store has as much as it may hold.
--
-- Returns  what the command does

return redis.call(arg.command, arg.key, unpack(arg.words))
