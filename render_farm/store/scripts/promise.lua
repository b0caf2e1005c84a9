-- Promises a node something for a job, and lets it work for it. The first promise of an agreement makes it the
-- node's order; an agreement that was replaced keeps its vouchers, but no new work is done under it.
--
-- Returns  'told' | 'again' (the very same was told last)

local agreement, units_cap = arg.agreement, arg.units_cap
local of_job, order, key = job_key(arg.job), order_key(arg.job, arg.node), 'farm:agreement:' .. agreement
if redis.call('SADD', of_job .. ':orders', agreement) == 1 then
  redis.call('HSET', key, 'job', arg.job, 'node', arg.node, 'base', arg.base)
  redis.call('HSET', order, 'agreement', agreement, 'units_cap', 0, 'units_used', 0)
  redis.call('SADD', of_job .. ':ordered', arg.node)
end
local current, cap_before = get(order, 'agreement', 'units_cap')
if current == agreement and cap_before ~= units_cap then
  redis.call('HSET', order, 'units_cap', units_cap)
end
redis.call('XADD', 'farm:work:changed', 'MAXLEN', '~', RINGS_KEPT, '*', 'job', arg.job, 'node', arg.node)
if redis.call('HGET', key, 'news') == arg.news then return 'again' end
redis.call('HSET', key, 'news', arg.news)
redis.call('XADD', 'farm:node:' .. arg.node .. ':promises', '*', 'agreement', agreement, 'news', arg.news)
return 'told'
