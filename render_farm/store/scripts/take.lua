-- uses verification.lua
-- Leases ready tasks to a node, each under a new fencing token. One that is late with another's node is taken over:
-- that lease ends. Work that is paid for needs room in the node's order; own nodes work unpaid where they have no
-- order or sell nothing, and audit unpaid where they have no room.
--
-- Returns  for each that was wanted false where it is no longer to be had, or the node holds all it may, else {token,
--          task JSON, the job's fields as a flat list, {{task JSON, token, result JSON} for each tile a finish task
--          starts from, or for the one a check looks at}, order of an audit (JSON) or '', for a check {pixel root,
--          channels (JSON), the tile's device class, the job's sums (JSON) or '', {{audit, order, token, result, own,
--          same class} for each audit}} or '', the agreement it is done under or '', the units it counts as, 1 where
--          a finished frame is to be compared with one that is rendered whole, and 1 where an audit needs a Blender
--          of its own}

local node, now = arg.node, arg.now
local operator = stranger(node)

-- Each look at the seams that is due goes to one finish task at a time, on the class that rendered the tiles:
-- floats of another would differ.
local function looks_at_seams(job, task, kind, class)
  local due, looked, holder, pin, done = get(job_key(job), 'seams', 'seams_looked', 'seam_task', 'device_class',
    'frames_done')
  due = filled(due) and cjson.decode(due)[tonumber(looked or 0) + 1]
  if kind ~= 'finish' or not due or tonumber(done) < due or pin ~= class then return 0 end
  if filled(holder) and holder ~= task and redis.call('HGET', task_key(holder), 'state') == 'leased' then return 0 end
  redis.call('HSET', job_key(job), 'seam_task', task)
  return 1
end

-- What a task starts from, and what a check must know of the tile it looks at.
local function inputs_of(job, task, kind, frame)
  local inputs = {}
  local looked_at = ''
  if kind == 'check' then
    local of, of_token = get(task_key(task), 'of', 'of_token')
    local root, audits = get(submission_key(of, of_token), 'root', 'audits')
    local seen = {}
    for _, audit in ipairs(cjson.decode(filled(audits) or '[]')) do
      local state, contradicted = get(task_key(audit), 'state', 'contradicted')
      if state == 'accepted' and contradicted ~= '1' then
        local found = redis.call('HMGET', task_key(audit), 'audit', 'token', 'result', 'own', 'same_class')
        table.insert(seen, { audit, unpack(found) })
      end
    end
    table.insert(inputs, redis.call('HMGET', task_key(of), 'task', 'token', 'result'))
    local channels, sums = get(job_key(job), 'channels', 'sums')
    local rendered_on = filled(redis.call('HGET', task_key(of), 'class')) or ''
    looked_at = { root, filled(channels) or '[]', rendered_on, filled(sums) or '', seen }
  end
  if kind == 'finish' then
    for _, tile in ipairs(tiles_of(job, frame)) do
      table.insert(inputs, redis.call('HMGET', task_key(tile), 'task', 'token', 'result'))
    end
  end
  return inputs, looked_at
end

local function take(task, slot, class, memory)
  local key = task_key(task)
  local job, state, kind, frame, record, units = get(key, 'job', 'state', 'kind', 'frame', 'task', 'units')
  local of_job = job_key(job or '')
  local is_late = state == 'leased' and may_take_over(task, node, operator)
  if state ~= 'ready' and not is_late then return false end
  local now_job = job_state(job)
  if now_job ~= 'rendering' and now_job ~= 'finishing' then return false end

  if operator and may_hold(node, operator, now) <= 0 then return false end

  local under = ''
  if filled(units) then
    local agreement, cap, used = get(order_key(job, node), 'agreement', 'units_cap', 'units_used')
    if filled(agreement) and used + units <= tonumber(cap) then
      under = agreement
    else
      local own, offer = get('farm:node:' .. node, 'own', 'offer')
      local waits = filled(agreement) and filled(offer) and not EXTRA[kind]
      if own ~= '1' or waits then return false end
    end
  end

  if kind ~= 'finish' and not EXTRA[kind] then
    local pin = redis.call('HGET', of_job, 'device_class')
    if filled(pin) and pin ~= class and not is_movable(job) then
      if not is_pin_idle(job, now) then return false end
      redis.call('HSET', of_job, 'repinned', 1)
    end
    if pin ~= class then redis.call('HSET', of_job, 'device_class', class, 'pinned_at', now, 'pin_proven', 0) end
    if not operator or is_known(node) then redis.call('HSET', of_job, 'pin_proven', 1) end
  end

  if is_late then
    local holder, of = get(key, 'node', 'held_by')
    local slow = gets_on(key, now)
    redis.call('HINCRBY', key, 'over', 1)
    back_to_ready(job, task, 'leased', now, 'overdue', 'It took long, and another node was free to do it.')
    if not slow then strike(holder, of, now, 1, false) end
  end

  local token = redis.call('HINCRBY', key, 'token', 1)
  redis.call('HINCRBY', key, 'attempts', 1)
  redis.call('HSET', key, 'node', node, 'slot', slot, 'class', class, 'memory', memory, 'progress', '')
  redis.call('HSET', key, 'held_by', operator or '', 'taken_at', now, 'moved_at', now, 'since', '', 'hold', '',
    'worked_at', '', 'told_at', '',
    'pace', pace_field(job, frame, kind, class))
  if filled(units) then redis.call('HSET', key, 'agreement', under) end
  if under ~= '' then redis.call('HINCRBY', order_key(job, node), 'units_used', units) end
  move(job, task, 'ready', 'leased')
  redis.call('ZADD', 'farm:leases', arg.ends, task)
  redis.call('SADD', 'farm:node:' .. node .. ':leases', task)
  if operator then
    redis.call('SADD', 'farm:owner:' .. operator .. ':leases', task)
    redis.call('HSET', key, 'beside', redis.call('SCARD', 'farm:node:' .. node .. ':leases'), 'beside_of',
      redis.call('SCARD', 'farm:owner:' .. operator .. ':leases'))
  end
  tell_task(job, task, 'leased')
  settle(job)
  if filled(redis.call('HGET', of_job, 'standstill')) then
    redis.call('HSET', of_job, 'standstill', '')
    tell(job, 'notice', { detail = '' })
  end

  local inputs, looked_at = inputs_of(job, task, kind, frame)
  local fields = { 'job', 'owner', 'scene', 'settings', 'width', 'height', 'area', 'canvas', 'probe', 'spec' }
  return { token, record, redis.call('HMGET', of_job, unpack(fields)), inputs,
    redis.call('HGET', key, 'audit') or '', looked_at, under, filled(units) or '0', looks_at_seams(job, task, kind, class),
    redis.call('HGET', key, 'fresh') == '1' and 1 or 0 }
end

local taken = {}
for number, wanted in ipairs(arg.wanted) do taken[number] = take(unpack(wanted)) end
return taken
