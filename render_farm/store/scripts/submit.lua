-- Accepts a task's result, if its lease is still the submitter's. The caller has checked the objects.
--
-- KEYS[1]  farm:task:{task}
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  node id
-- ARGV[4]  result (JSON)
-- ARGV[5]  digest of the result: tells a repeated submit from another one under the same token
-- ARGV[6]  pure render seconds
-- ARGV[7]  files of the result (JSON list)
-- ARGV[8]  now, seconds
-- Returns  'accepted' | 'again' | 'other' (accepted before with another result) | 'stale'
-- Also changes farm:job:{job}, farm:frame:{job}:{frame}, the frame's finish task, lanes and events.

local task, token, node = ARGV[1], ARGV[2], ARGV[3]
local job, state, live, holder, digest = get(KEYS[1], 'job', 'state', 'token', 'node', 'digest')
if state == 'accepted' and live == token and holder == node then
  return digest == ARGV[5] and 'again' or 'other'
end
job = held(task, token, node)
if not job then return 'stale' end

local frame, lane = get(KEYS[1], 'frame', 'lane')
local key = frame_key(job, frame)
redis.call('HSET', KEYS[1], 'result', ARGV[4], 'digest', ARGV[5], 'render_seconds', ARGV[6], 'progress', '')
move(job, task, 'leased', 'accepted')
tell_task(job, task, 'accepted')
redis.call('HINCRBYFLOAT', job_key(job), 'render_seconds', ARGV[6])
local seconds = redis.call('HINCRBYFLOAT', key, 'render_seconds', ARGV[6])

if lane == 'render' or lane == 'final' then
  local accepted = redis.call('HINCRBY', key, 'accepted', 1)
  local tiles, finish = get(key, 'tiles', 'finish')
  if filled(finish) and accepted == tonumber(tiles) then
    move(job, finish, 'waiting', 'ready')
    tell_task(job, finish, 'ready')
  end
end
if lane == 'finish' or lane == 'final' then
  redis.call('HSET', key, 'state', 'done', 'files', ARGV[7], 'by', task, 'by_token', token, 'done_at', ARGV[8])
  redis.call('HINCRBY', job_key(job), 'frames_done', 1)
  tell(job, 'frame', { frame = tonumber(frame), state = 'done', files = cjson.decode(ARGV[7]),
    by = task, by_token = tonumber(token), render_seconds = tonumber(seconds),
    tiles = tonumber(redis.call('HGET', key, 'tiles')) })
end
settle(job)
return 'accepted'
