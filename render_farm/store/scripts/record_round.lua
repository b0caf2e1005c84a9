-- uses verification.lua
-- Fixes a beacon round's value and the log's size with it. Rounds are recorded in order. What waits for
-- a round that never came is decided by the next one.
--
-- KEYS[1]  farm:rounds
-- KEYS[2]  farm:round:{round}
-- KEYS[3]  farm:log
-- ARGV[1]  round
-- ARGV[2]  its value (hexadecimal), '' where it was never to be had
-- ARGV[3]  the public beacon's signature, '' for none
-- ARGV[4]  the round after it that decides where there is no value and none is waited for yet
-- Returns  {'recorded' | 'again' | 'early' (a lower one comes first), value, size, beacon signature}

local value, size, signature = get(KEYS[2], 'value', 'size', 'beacon_signature')
if value then return { 'again', value, tonumber(size), signature } end
local round = ARGV[1]
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if first and tonumber(first) < tonumber(round) then return { 'early', '', 0, '' } end

size = redis.call('LLEN', KEYS[3])
redis.call('HSET', KEYS[2], 'value', ARGV[2], 'size', size, 'beacon_signature', ARGV[3])
redis.call('SET', KEYS[1] .. ':last', round)
local waiting = 'farm:round:' .. round .. ':waiting'
if ARGV[2] == '' and redis.call('EXISTS', waiting) == 1 then
  local next_one = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. round, '+inf', 'LIMIT', 0, 1)[1] or ARGV[4]
  redis.call('ZADD', KEYS[1], next_one, next_one)
  for _, entry in ipairs(redis.call('LRANGE', waiting, 0, -1)) do
    redis.call('RPUSH', 'farm:round:' .. next_one .. ':waiting', entry)
    redis.call('SADD', job_key(redis.call('HGET', submission_key(entry:match('^(%S+) (%S+)$')), 'job')) .. ':rounds',
      next_one)
  end
  redis.call('DEL', waiting)
end
return { 'recorded', ARGV[2], size, ARGV[3] }
