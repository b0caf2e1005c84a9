-- SPDX-License-Identifier: GPL-3.0-or-later
-- Stands before shared.lua: how much a stranger's node may hold, for how long, and what it costs to hold work
-- without doing it. The farm's own nodes are the operator's: nothing here is about them.
--
--   farm:node:{node}, farm:owner:{operator}  hashes, also with: window (leases it may hold at a time; absent: the
--                              first few), strikes (work taken and not done, less work accepted, and less one a
--                              minute) as of struck_at, paused_until; of nodes delivered (tiles accepted since
--                              one was found false; absent: none), given_back, kept (counts, for people)
--   farm:owner:{operator}:leases  set: tasks that nodes of an operator hold, but own nodes
--   farm:task:{task}           also: held_by (the operator of the stranger's node that took it last, or ''),
--                              beside, beside_of (how many leases the node, and its operator, then held), taken_at,
--                              since (when the lease began anew, because the coordinator was away), moved_at (when
--                              its progress changed last), worked_at (when it said first that it renders), told_at
--                              (when its progress was told last), hold (seconds from lease to result), pace (the job's
--                              field that tells how long such tasks take), late ('1': it may be taken over),
--                              over (how often it was late before)
--   farm:job:{job}             pace:{tiles}:{class}: of frames cut so, on that class, how many results were
--                              accepted, the median of the last ones' hold, and these, blank between

local FIRST_OF_NODE, FIRST_OF_OPERATOR, MOST_WINDOW = 4, 8, 1024
local STRIKE_SECONDS, PAUSE_SECONDS, MOST_PAUSE = 60, 30, 3600
local LATE_FACTOR, LATE_LEAST, BELIEVED = 4, 120, 4
local LATE_UNKNOWN, LATE_UNKNOWN_OF_NEW = 7200, 1800
local LATE_LEAST_OF_NEW = 1200
local START_SECONDS, STALL_SECONDS, SILENT_SECONDS = 1800, 600, 600
local HOLDS_KEPT = 15
local DOUBLINGS = 6

local function get(key, ...)
  return unpack(redis.call('HMGET', key, ...))
end

local function filled(value)
  if value == false or value == nil or value == '' then return nil end
  return value
end

local function holders(node, operator)
  return { { 'farm:node:' .. node, FIRST_OF_NODE }, { 'farm:owner:' .. operator, FIRST_OF_OPERATOR } }
end

-- The operator of a stranger's node, or nil for an own node.
local function stranger(node)
  local own, operator = get('farm:node:' .. node, 'own', 'owner')
  if own == '1' then return nil end
  return operator or '-'
end

-- How many more leases a stranger's node may take, and 'paused' where it is none for a while.
local function may_hold(node, operator, now)
  local most = MOST_WINDOW
  for _, one in ipairs(holders(node, operator)) do
    local window, paused = get(one[1], 'window', 'paused_until')
    if tonumber(paused or 0) > tonumber(now) then return 0, 'paused' end
    most = math.min(most, (window or one[2]) - redis.call('SCARD', one[1] .. ':leases'))
  end
  return most
end

-- Whether work of the node's was ever accepted.
local function is_known(node)
  return redis.call('HEXISTS', 'farm:node:' .. node, 'delivered') == 1
end

-- As TCP's slow start (RFC 5681), and only while the window is used (RFC 7661): one more for each tile that was
-- accepted doubles it a round.
local function widen(key, first, beside)
  local window, strikes = get(key, 'window', 'strikes')
  window = tonumber(window or first)
  if 2 * tonumber(beside or 1) >= window and window < MOST_WINDOW then redis.call('HSET', key, 'window', window + 1) end
  if tonumber(strikes or 0) > 0 then redis.call('HSET', key, 'strikes', math.max(0, strikes - 1)) end
end

-- A stranger's node took work and did not do it. What is in use at a time may be given back at once, when a node is
-- stopped: the more a node has shown, the more it may. `narrows`: it kept the lease to its end.
local function strike(node, operator, now, weight, narrows)
  redis.call('HINCRBY', 'farm:node:' .. node, narrows and 'kept' or 'given_back', 1)
  for _, one in ipairs(holders(node, operator)) do
    local key, first = unpack(one)
    local strikes, at, window = get(key, 'strikes', 'struck_at', 'window')
    window = tonumber(window or first)
    local left = math.max(0, (strikes or 0) - (now - (at or now)) / STRIKE_SECONDS) + weight
    local excess = left - first - 2 * window
    redis.call('HSET', key, 'strikes', left, 'struck_at', now)
    if excess > 0 then
      redis.call('HSET', key, 'paused_until', now + math.min(MOST_PAUSE, PAUSE_SECONDS * 2 ^ math.min(excess / 4, 10)))
    end
    if narrows then
      local less = first == FIRST_OF_NODE and math.floor(window / 2) or window - 1
      redis.call('HSET', key, 'window', math.max(first, less))
    end
  end
end

local function median(numbers)
  local sorted = { unpack(numbers) }
  table.sort(sorted)
  return sorted[math.ceil(#sorted / 2)]
end

-- A task's result was accepted: so long do such tasks take, and its node may hold more.
local function note_delivery(job, task)
  local field, hold, operator, node, beside, beside_of =
    get(task, 'pace', 'hold', 'held_by', 'node', 'beside', 'beside_of')
  if filled(field) and filled(hold) then
    local holds = {}
    for number in (redis.call('HGET', job, field) or ''):gmatch('%S+') do table.insert(holds, tonumber(number)) end
    local count = (table.remove(holds, 1) or 0) + 1
    table.remove(holds, 1)
    table.insert(holds, tonumber(hold))
    if #holds > HOLDS_KEPT then table.remove(holds, 1) end
    redis.call('HSET', job, field, count .. ' ' .. median(holds) .. ' ' .. table.concat(holds, ' '))
  end
  if not filled(operator) then return end
  redis.call('HINCRBY', 'farm:node:' .. node, 'delivered', 1)
  widen('farm:node:' .. node, FIRST_OF_NODE, beside)
  widen('farm:owner:' .. operator, FIRST_OF_OPERATOR, beside_of)
  if redis.call('HEXISTS', job .. ':broken', operator) == 1 then redis.call('HINCRBY', job .. ':broken', operator, -1) end
end

-- Seconds since a task was leased.
local function held_for(task, now)
  local taken = filled(redis.call('HGET', task, 'taken_at'))
  return taken and math.max(0, now - taken) or ''
end

-- After how many seconds a lease is late: four times what such tasks of the job take, more while few are known;
-- else by the quote's units and the class's speed; else long. Twice as long each time the task was late before.
local function late_after(job, lease)
  local known = filled(lease.pace) and redis.call('HGET', job, lease.pace)
  local seconds, usual = lease.new and LATE_UNKNOWN_OF_NEW or LATE_UNKNOWN, nil
  if known then
    local count, middle = known:match('^(%S+) (%S+)')
    usual = tonumber(middle)
    seconds = math.max(LATE_LEAST, LATE_FACTOR * (1 + 3 / count) * usual)
  elseif filled(lease.units) then
    local speed = tonumber(redis.call('HGET', 'farm:speeds', lease.class) or 0)
    if speed > 0 then seconds = math.max(LATE_LEAST, 4 * LATE_FACTOR * lease.units / speed) end
  end
  return seconds * 2 ^ math.min(tonumber(filled(lease.over) or 0), DOUBLINGS), usual
end

-- Seconds that a stranger's lease may go on with the same progress. A scene is fetched and opened, and a result
-- uploaded, without a word; a node that says nothing at all does neither.
local function stalls_after(said, usual)
  local total, activity = said.total or 0, said.activity or ''
  if total == 0 and activity == '' then return SILENT_SECONDS end
  if total == 0 or activity == 'delivering' or not usual then return START_SECONDS end
  return math.max(STALL_SECONDS, LATE_FACTOR * usual)
end

-- Whether the node says that it renders, and said so otherwise a while ago: it is slow, and holds nothing back.
local function gets_on(task, now)
  local moved, worked, progress = get(task, 'moved_at', 'worked_at', 'progress')
  local said = filled(progress) and cjson.decode(progress) or {}
  return filled(worked) ~= nil and (said.done or 0) > 0 and now - moved < STALL_SECONDS
end

-- Since when a lease's work is counted: to fetch and to open a scene takes as long as the line and the disk do, but
-- not for ever. A node that says nothing does neither.
local function work_began(began, worked, said)
  if (said.total or 0) == 0 and (said.activity or '') == '' then return began end
  return math.min(math.max(filled(worked) or math.huge, began), began + START_SECONDS)
end

-- When a lease is late, when it ends at the latest, and why: 'overdue' or 'stalled'. Own nodes' are never late.
-- Frames differ: a node whose work was accepted before is believed longer that it gets on.
local function ends_of(job, task)
  local operator, node, kind, pace, units, class, over, taken, since, moved, worked, progress = get(task, 'held_by', 'node',
    'kind', 'pace', 'units', 'class', 'over', 'taken_at', 'since', 'moved_at', 'worked_at', 'progress')
  if not filled(operator) or not filled(taken) then return math.huge, math.huge end
  local began = math.max(taken, filled(since) or 0)
  local known = is_known(node)
  local late, usual = late_after(job, { pace = pace, units = units, class = class, over = over, new = not known })
  local said = filled(progress) and cjson.decode(progress) or {}
  local last = began + START_SECONDS + late * (kind == 'audit' and 1 or BELIEVED)
  local still = math.max(filled(moved) or 0, began) + stalls_after(said, usual)
  if known and (said.done or 0) > 0 then late = late * BELIEVED end
  local late_at = work_began(began, worked, said) + late
  if not known and late_at > began + late then late_at = math.max(late_at, began + LATE_LEAST_OF_NEW) end
  if still < last then return late_at, still, 'stalled' end
  return late_at, last, 'overdue'
end
