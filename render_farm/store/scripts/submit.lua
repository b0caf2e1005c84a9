-- uses verification.lua
-- Takes a task's result, if its lease is still the submitter's. The caller has checked the objects and
-- the signature. A result without a submission (a finished frame) is accepted at once.
--
-- KEYS[1]  farm:task:{task}
-- KEYS[2]  farm:submission:{task}:{token}
-- KEYS[3]  farm:log
-- KEYS[4]  farm:rounds
-- ARGV[1]  task id
-- ARGV[2]  token
-- ARGV[3]  node id
-- ARGV[4]  result (JSON)
-- ARGV[5]  digest of the result: tells a repeated submit from another one under the same token
-- ARGV[6]  pure render seconds
-- ARGV[7]  now, seconds
-- ARGV[8]  '' | 'accept' (at once) | 'wait' (for its round): what follows, and with it:
-- ARGV[9]  the submission's record (JSON); without one: {sentence, scope, approximate} (JSON) where a finished
--          frame is another than the one rendered whole, which is what was delivered, or ''
-- ARGV[10] digest of the attestation
-- ARGV[11] digest of the receipt, the log's leaf
-- ARGV[12] beacon round
-- ARGV[13] pixel root
-- ARGV[14] operator
-- Returns  {'accepted' | 'submitted' | 'again' | 'other' (submitted before with another result) | 'stale' |
--          'late' (the log is closed for the round), the leaf's number, or the last closed round where late}
-- Also changes farm:job:{job}, farm:frame:{job}:{frame}, the frame's finish task, lanes and events.

local task, token, node = ARGV[1], ARGV[2], ARGV[3]
local how, attestation, leaf, round = ARGV[8], ARGV[10], ARGV[11], ARGV[12]

if how ~= '' then
  local known, number = get(KEYS[2], 'attestation', 'leaf')
  if known then return { known == attestation and 'again' or 'other', tonumber(number) } end
else
  local state, live, holder, digest = get(KEYS[1], 'state', 'token', 'node', 'digest')
  if state == 'accepted' and live == token and holder == node then
    return { digest == ARGV[5] and 'again' or 'other', 0 }
  end
end
local job = held(task, token, node)
if not job or is_off_class(job, task) then return { 'stale', 0 } end
local last = tonumber(filled(redis.call('GET', KEYS[4] .. ':closed')) or 0)
if how ~= '' and tonumber(round) <= last then return { 'late', last } end

redis.call('HSET', KEYS[1], 'result', ARGV[4], 'digest', ARGV[5], 'render_seconds', ARGV[6], 'progress', '', 'hold',
  held_for(KEYS[1], ARGV[7]))
local number = 0
if how ~= '' then
  number = redis.call('RPUSH', KEYS[3], leaf) - 1
  local entry, root = task .. ' ' .. token, ARGV[13]
  redis.call('HSET', KEYS[2], 'base', ARGV[9], 'job', job, 'node', node, 'operator', ARGV[14],
    'attestation', attestation, 'leaf', number, 'root', root, 'phase', how == 'wait' and 'pending' or 'done',
    'audited', how == 'wait' and '' or '0', 'agreement', redis.call('HGET', KEYS[1], 'agreement') or '')
  redis.call('RPUSH', job_key(job) .. ':submissions', entry)
  redis.call('SADD', job_key(job) .. ':rounds', round)
  redis.call('ZADD', KEYS[4], round, round)
  if how == 'wait' then redis.call('RPUSH', 'farm:round:' .. round .. ':waiting', entry) end
  if how == 'accept' then redis.call('SADD', job_key(job) .. ':unaudited:' .. node, entry) end
  local roots = job_key(job) .. ':roots'
  local twins = cjson.decode(filled(redis.call('HGET', roots, root)) or '[]')
  if #twins < TWINS_KEPT then
    table.insert(twins, { task = task, token = token, frame = tonumber(redis.call('HGET', KEYS[1], 'frame')),
      rejected = false })
    redis.call('HSET', roots, root, cjson.encode(twins))
  end
end

if how == 'wait' then
  move(job, task, 'leased', 'submitted')
  tell_task(job, task, 'submitted')
else
  accept(job, task, 'leased', ARGV[7])
end
if how == '' then
  local frame, seam = redis.call('HGET', KEYS[1], 'frame'), cjson.decode(ARGV[4]).seam
  if type(seam) == 'table' then
    redis.call('HINCRBY', job_key(job), 'seams_looked', 1)
    redis.call('HSET', job_key(job), 'seam_task', '')
  end
  if filled(ARGV[9]) then
    redis.call('HSET', frame_key(job, frame), 'whole', 1)
    fall_back(job, cjson.decode(ARGV[9]), ARGV[7])
  end
end
settle(job)
return { how == 'wait' and 'submitted' or 'accepted', number }
