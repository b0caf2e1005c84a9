-- uses verification.lua
-- A node's heartbeat: renews its leases, keeps their progress, says which are lost. No lease is renewed beyond its
-- latest end; one that is late may be taken over by another node.
--
-- Returns  {list of tasks that are no longer the node's, list of those among them whose leases end now,
--          1 where there is something to take that was not before}

local node, now = arg.node, tonumber(arg.now)
local of_node = 'farm:node:' .. node
redis.call('ZADD', 'farm:nodes', arg.now, node)
redis.call('HSET', of_node, 'last_seen', arg.now, 'troubles', arg.troubles)

local TOLD_SECONDS = 1

local function note(job, beat)
  local known, frame, slot, kind, worked, told =
    get(task_key(beat.task), 'progress', 'frame', 'slot', 'kind', 'worked_at', 'told_at')
  redis.call('ZADD', of_node .. ':slots', arg.now, slot)
  if known == beat.progress then return end
  redis.call('HSET', task_key(beat.task), 'progress', beat.progress, 'moved_at', arg.now)
  if not filled(worked) and beat.total > 0 then redis.call('HSET', task_key(beat.task), 'worked_at', arg.now) end
  if not EXTRA[kind] and math.abs(now - (filled(told) or 0)) >= TOLD_SECONDS then
    redis.call('HSET', task_key(beat.task), 'told_at', arg.now)
    tell_progress(job, { task = beat.task, frame = tonumber(frame), node = node, slot = slot,
      done = beat.done, total = beat.total })
  end
end

local function offer_to_others(job, task)
  local kind, order, late = get(task_key(task), 'kind', 'order', 'late')
  if kind ~= 'render' or late == '1' then return 0 end
  redis.call('HSET', task_key(task), 'late', 1)
  redis.call('ZADD', job_key(job) .. ':late', order, task)
  redis.call('HINCRBY', job_key(job), 'late', 1)
  settle(job)
  return 1
end

local lost, ended, woke = {}, {}, 0
for _, beat in ipairs(arg.beats) do
  local job = held(beat.task, beat.token, node)
  if job and not is_off_class(job, beat.task) then
    note(job, beat)
    local late, last, why = ends_of(job_key(job), task_key(beat.task))
    if last <= now then
      end_lease(job, beat.task, arg.now, why)
      table.insert(ended, beat.task)
      table.insert(lost, beat.task)
      woke = 1
    else
      redis.call('ZADD', 'farm:leases', math.min(tonumber(arg.ends), last), beat.task)
      if late <= now then woke = math.max(woke, offer_to_others(job, beat.task)) end
    end
  else
    table.insert(lost, beat.task)
  end
end
return { lost, ended, woke }
