-- Promises a node something for a job, and lets it work for it. The first promise of an agreement makes it the
-- node's order; an agreement that was replaced keeps its vouchers, but no new work is done under it.
--
-- KEYS[1]  farm:job:{job}:order:{node}
-- KEYS[2]  farm:job:{job}:orders           the job's agreements
-- KEYS[3]  farm:agreement:{agreement}
-- KEYS[4]  farm:node:{node}:promises
-- KEYS[5]  farm:work:changed
-- KEYS[6]  farm:job:{job}:ordered          nodes that the job has agreements with
-- ARGV[1]  job id
-- ARGV[2]  node id
-- ARGV[3]  agreement
-- ARGV[4]  how many micro-units may be done under it
-- ARGV[5]  what was signed at its beginning (JSON)
-- ARGV[6]  what is new, with the newest of each (JSON)
-- Returns  'told' | 'again' (the very same was told last)

local agreement, units_cap = ARGV[3], ARGV[4]
if redis.call('SADD', KEYS[2], agreement) == 1 then
  redis.call('HSET', KEYS[3], 'job', ARGV[1], 'node', ARGV[2], 'base', ARGV[5])
  redis.call('HSET', KEYS[1], 'agreement', agreement, 'units_cap', 0, 'units_used', 0)
  redis.call('SADD', KEYS[6], ARGV[2])
end
local current, cap_before = get(KEYS[1], 'agreement', 'units_cap')
if current == agreement and cap_before ~= units_cap then
  redis.call('HSET', KEYS[1], 'units_cap', units_cap)
end
redis.call('XADD', KEYS[5], 'MAXLEN', '~', RINGS_KEPT, '*', 'job', ARGV[1], 'node', ARGV[2])
if redis.call('HGET', KEYS[3], 'news') == ARGV[6] then return 'again' end
redis.call('HSET', KEYS[3], 'news', ARGV[6])
redis.call('XADD', KEYS[4], '*', 'agreement', agreement, 'news', ARGV[6])
return 'told'
