-- All that decides about a result under a lease. With `rules`, which the farm has now, the lease of a tile that is
-- live also gets its terms: what is true now of its node and operator, unless it has some, and the job its rules.
--
-- `task`, `token`, `node`, `operator`, `rules` (JSON JobRules, absent: nothing is changed)
-- Returns  {fields of the task, of the submission, the node's address, fields of the job, the last closed round}

local key = task_key(arg.task)

local function standing(of)
  local passed, failed = get(of, 'passed', 'failed')
  return '{"passed":' .. (passed or 0) .. ',"failed":' .. (failed or 0) .. '}'
end

local function agree(job)
  redis.call('HSETNX', job_key(job), 'rules', arg.rules)
  local terms = filled(redis.call('HGET', key, 'terms'))
  if terms and tostring(cjson.decode(terms).token) == arg.token then return end
  redis.call('HSET', key, 'terms', '{"token":' .. arg.token .. ',"standing":' .. standing('farm:node:' .. arg.node)
    .. ',"operator_standing":' .. standing('farm:owner:' .. arg.operator) .. '}')
end

if arg.rules then
  local job = held(arg.task, arg.token, arg.node)
  if job and TILE_LANES[redis.call('HGET', key, 'lane')] then agree(job) end
end
local job = redis.call('HGET', key, 'job') or ''
return {
  redis.call('HMGET', key, 'job', 'state', 'token', 'node', 'digest', 'kind', 'class', 'lane', 'task', 'terms'),
  redis.call('HMGET', 'farm:submission:' .. arg.task .. ':' .. arg.token, 'base', 'leaf'),
  redis.call('HGET', 'farm:node:' .. arg.node, 'address'),
  redis.call('HMGET', job_key(job), 'rules', 'croppable'),
  redis.call('GET', 'farm:rounds:closed'),
}
