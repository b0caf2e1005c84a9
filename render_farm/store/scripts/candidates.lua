-- What a node could lease now, most urgent job first, and a note that the node was heard of.
--
-- Returns  'unbound' where the node has no address yet, else JSON {how many tasks the node may take, -1 for any,
--          list of {job, owner, rank, scene, pin or '', movable ('1': the pin may be changed),
--          in_order ('1': CPUs only, 'own': CPUs and own nodes), {video memory that its scene did not fit as own nodes say, and as the node says of itself; -1 where none did},
--          {{task, lane, frame, failed_on, failed_at, failed_code, of an audit JSON of the rest,
--          '1' where it is to be taken over}, ...}}}
--          With a job: JSON list of as much of it, and of why it is no more: other_owner, sells, agreement, room,
--          refused, excluded, paused, called_broken. The rest of the rules is the scheduler's: lanes and device classes are not looked at.
-- Also changes farm:node:{node}:offers (hash: slot to its last offer).

local node, now, only, only_owner = arg.node, arg.now, arg.job, arg.owner
local classes, lanes = arg.classes, arg.lanes
local of_node = 'farm:node:' .. node
local slots, audits_of = of_node .. ':slots', of_node .. ':audits'
local most_jobs, most_tasks = tonumber(arg.most_jobs), tonumber(arg.most_tasks)
local LOOKED_AT, MOST_LOOKS = 1000, 10000
local SLOT_FORGOTTEN = 600
local SLOTS_KEPT, CLASSES_KEPT = 256, 32
local CALLED_BROKEN, CALLED_BROKEN_OF_JOB = 3, 6
local KEPT = { overdue = true, stalled = true, expired = true }
local PASSED_OVER = 10

local CLASS_FORGOTTEN = 86400

local function forget(some)
  if #some == 0 then return end
  redis.call('ZREM', slots, unpack(some))
  redis.call('HDEL', of_node .. ':offers', unpack(some))
end

local function heard_of()
  redis.call('ZADD', 'farm:nodes', now, node)
  redis.call('HSET', of_node, 'last_seen', now, 'sandboxed', arg.sandboxed, 'device_class', classes[1] or '', 'refuses', arg.refuses)
  redis.call('ZREMRANGEBYSCORE', audits_of, '-inf', tonumber(now) - CLASS_FORGOTTEN)
  local audits, seen, offers = {}, {}, {}
  for _, class in ipairs(arg.audits) do
    table.insert(audits, now)
    table.insert(audits, class)
  end
  if #audits > 0 then redis.call('ZADD', audits_of, unpack(audits)) end
  redis.call('ZREMRANGEBYRANK', audits_of, 0, -CLASSES_KEPT - 1)
  forget(redis.call('ZRANGEBYSCORE', slots, '-inf', tonumber(now) - SLOT_FORGOTTEN))
  for slot, offer in pairs(arg.offers) do
    for _, word in ipairs({ now, slot }) do table.insert(seen, word) end
    for _, word in ipairs({ slot, offer }) do table.insert(offers, word) end
  end
  if #seen > 0 then
    redis.call('ZADD', slots, unpack(seen))
    redis.call('HSET', of_node .. ':offers', unpack(offers))
  end
  local beyond = redis.call('ZCARD', slots) - SLOTS_KEPT
  forget(beyond > 0 and redis.call('ZRANGE', slots, 0, beyond - 1) or {})
end

if not only then heard_of() end

if not filled(redis.call('HGET', of_node, 'address')) then return 'unbound' end

local offered, refused = {}, {}
for _, class in ipairs(classes) do offered[class] = true end
for _, job in ipairs(cjson.decode(arg.refuses)) do refused[job] = true end
local own, offer = get(of_node, 'own', 'offer')
local operator = stranger(node)
local may_take, paused = -1, nil
if operator then may_take, paused = may_hold(node, operator, now) end
if may_take ~= -1 and may_take <= 0 then
  if not only then return '[0,[]]' end
  if paused then return '[[],["paused"]]' end
end
if not only and #lanes == 0 then return '[0,[]]' end

-- How many units of a job's tiles, and of its audits, the node may be given: none where a stranger's node has no
-- agreement, or sells and the job is free. An own node that sells waits for room as others do; what only it can
-- audit, it audits anyway.
local function room(job, paid)
  if paid ~= '1' then
    local most = own ~= '1' and filled(offer) and -1 or math.huge
    return most, most
  end
  local agreement, cap, used = get(order_key(job, node), 'agreement', 'units_cap', 'units_used')
  local left = filled(agreement) and cap - used or -1
  if own ~= '1' then return left, left end
  return filled(agreement) and filled(offer) and math.max(0, left) or math.huge, math.huge
end

-- The largest video memory that is offered for rendering; a processor has no such limit.
local roomiest = -1
for _, text in pairs(arg.offers) do
  local one, renders = cjson.decode(text), false
  for _, kind in ipairs(one.kinds) do renders = renders or (kind ~= 'finish' and kind ~= 'check') end
  if renders then
    roomiest = math.max(roomiest, one.device_class:match('^cpu%f[:%z]') and math.huge or one.memory or 0)
  end
end

local function fits(own, mine)
  return roomiest > mine and (roomiest <= 0 or roomiest > own)
end

local less, looks = {}, 0

local function open_lanes(job, pin, movable, large)
  local suits = pin == '' or movable or offered[pin] or only
  local open = {}
  for _, lane in ipairs(lanes) do
    if refused[job] or large then
      if lane == 'finish' or lane == 'check' then table.insert(open, lane) end
    elseif suits or lane == 'finish' or lane == 'audit' or lane == 'check' then table.insert(open, lane) end
  end
  return open
end

local function is_in(node, nodes)
  for _, one in ipairs(cjson.decode(nodes)) do if one == node then return true end end
  return false
end

local function seat(task)
  local wants, node, operator, ranked, tried, asked, own_only = get(task_key(task), 'wants', 'of_node',
    'of_operator', 'ranked', 'tried', 'asked_at', 'own_only')
  return '{"device_class":' .. cjson.encode(wants) .. ',"node":' .. cjson.encode(node) .. ',"operator":' ..
    cjson.encode(operator) .. ',"ranked":' .. ranked .. ',"tried":' .. (filled(tried) or '[]') ..
    ',"asked_at":' .. asked .. ',"own_only":' .. (own_only == '1' and 'true' or 'false') .. '}'
end

-- What another of an operator's nodes kept to its end is left to others as if this one had.
local function went_wrong_here(on, code)
  if not operator or on == node or not KEPT[code] or not filled(on) then return on end
  return redis.call('HGET', 'farm:node:' .. on, 'owner') == operator and node or on
end

local function is_called_broken(task)
  return operator and tonumber(redis.call('HGET', task_key(task) .. ':accusers', operator) or 0) >= CALLED_BROKEN
end

-- Tasks that are late with another's node, of lanes that are open.
local function late_tasks(job, open, most_units)
  local found, lanes_open = {}, {}
  for _, lane in ipairs(open) do lanes_open[lane] = true end
  for _, task in ipairs(redis.call('ZRANGE', job_key(job) .. ':late', 0, most_tasks - 1)) do
    local lane, frame, excluded, units, faults = get(task_key(task), 'lane', 'frame', 'excluded', 'units', 'faults')
    if lanes_open[lane] and may_take_over(task, node, operator) and tonumber(units or 0) <= most_units
      and not (filled(excluded) and is_in(node, excluded)) and not (faults and is_called_broken(task)) then
      table.insert(found, { task, lane, frame, '', '0', '', '', '1' })
    end
  end
  return found
end

local function tasks_in(job, open, most_units, most_audit, late)
  local found = late and late_tasks(job, open, most_units) or {}
  for _, lane in ipairs(open) do
    local looked = most_tasks * (lane == 'render' and PASSED_OVER or lane == 'audit' and 4 or 1)
    local fitting = 0
    for _, task in ipairs(redis.call('ZRANGE', lane_key(job, lane), 0, looked - 1)) do
      looks = looks + 1
      local frame, on, at, code, excluded, units, faults =
        get(task_key(task), 'frame', 'failed_on', 'failed_at', 'failed_code', 'excluded', 'units', 'faults')
      local most = lane == 'audit' and most_audit or most_units
      local barred = filled(excluded) and is_in(node, excluded)
      if tonumber(units or 0) > most then less.room = true end
      if barred then less.excluded = true end
      if not barred and faults and is_called_broken(task) then barred, less.called_broken = true, true end
      if tonumber(units or 0) <= most and not barred then
        table.insert(found, { task, lane, frame, went_wrong_here(on or '', code), at or '0', code or '',
          lane == 'audit' and seat(task) or '', '' })
        fitting = fitting + 1
        if lane ~= 'audit' and fitting >= most_tasks then break end
      end
    end
  end
  return found
end

-- Nothing that is found for a node takes the store from all others for long.
local found = {}
local jobs = not only and redis.call('ZRANGE', 'farm:jobs:open', 0, LOOKED_AT - 1) or { only }
for _, job in ipairs(jobs) do
  if #found >= most_jobs or looks > MOST_LOOKS then break end
  local owner, rank, scene, pin, paid, in_order, late =
    get(job_key(job), 'owner', 'rank', 'scene', 'device_class', 'paid', 'in_order', 'late')
  local mine = not only_owner or owner == only_owner
  local most_units, most_audit = -1, -1
  if mine or only then most_units, most_audit = room(job, paid) end
  local wanted = mine and most_units >= 0 or only
  local barred = wanted and redis.call('SISMEMBER', job_key(job) .. ':excluded', node) == 1
  if not mine then less.other_owner = true end
  if refused[job] then less.refused = true end
  if most_units < 0 then less[paid == '1' and 'agreement' or 'sells'] = true end
  if barred then less.excluded = true end
  if wanted and operator and tonumber(redis.call('HGET', job_key(job) .. ':broken', operator) or 0) >= CALLED_BROKEN_OF_JOB then
    barred, less.called_broken = true, true
  end
  if mine and most_units >= 0 and not barred then
    pin = pin or ''
    local movable = is_movable(job) or is_pin_idle(job, now)
    local here, own = get(job_key(job) .. ':too_small', node, 'own')
    here, own = tonumber(here or -1), tonumber(own or -1)
    local large = not only and not fits(own, here)
    local tasks = tasks_in(job, open_lanes(job, pin, movable, large), most_units, most_audit,
      late and late ~= '0')
    if #tasks > 0 then
      table.insert(found, { job, owner, rank, scene, pin, movable and '1' or '0', in_order or '0', { own, here }, tasks })
    end
  end
end
if only then
  local why = {}
  for name in pairs(less) do table.insert(why, name) end
  return '[' .. (#found > 0 and cjson.encode(found) or '[]') .. ',' .. (#why > 0 and cjson.encode(why) or '[]') .. ']'
end
return '[' .. may_take .. ',' .. (#found > 0 and cjson.encode(found) or '[]') .. ']'
