-- A node's heartbeat: renews its leases, keeps their progress, says which are lost.
--
-- KEYS[1]  farm:leases
-- KEYS[2]  farm:nodes
-- KEYS[3]  farm:node:{node}
-- KEYS[4]  farm:node:{node}:slots
-- ARGV[1]  node id
-- ARGV[2]  now, seconds
-- ARGV[3]  when the renewed leases end, seconds
-- ARGV[4]  JSON list of {task, token, progress (JSON), done, total}
-- ARGV[5]  JSON list of slots that the node cannot use
-- Returns  list of tasks that are no longer the node's
-- Also changes farm:task:{task} (progress) and farm:job:{job}:events.

local node, now = ARGV[1], ARGV[2]
redis.call('ZADD', KEYS[2], now, node)
redis.call('HSET', KEYS[3], 'last_seen', now, 'troubles', ARGV[5])
local lost = {}
for _, beat in ipairs(cjson.decode(ARGV[4])) do
  local job = held(beat.task, beat.token, node)
  if job then
    redis.call('ZADD', KEYS[1], ARGV[3], beat.task)
    local known, frame, slot, kind = get(task_key(beat.task), 'progress', 'frame', 'slot', 'kind')
    redis.call('ZADD', KEYS[4], now, slot)
    if known ~= beat.progress then
      redis.call('HSET', task_key(beat.task), 'progress', beat.progress)
      if not EXTRA[kind] then
        tell(job, 'progress', { task = beat.task, frame = tonumber(frame), node = node, slot = slot,
          done = beat.done, total = beat.total })
      end
    end
  else
    table.insert(lost, beat.task)
  end
end
return lost
