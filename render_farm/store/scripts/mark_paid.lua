-- Writes down what the books say of a paid job, and what follows for its state.
--
-- KEYS[1]  farm:job:{job}
-- KEYS[2]  farm:jobs:paid
-- KEYS[3]  farm:work:changed
-- ARGV[1]  job id
-- ARGV[2]  JSON object: some of funded, held, settled, money, statement; all strings
-- Returns  1, or 0 where there is no such paid job

local job, fields = ARGV[1], cjson.decode(ARGV[2])
if not is_paid(job) then return 0 end

local function notice()
  local why, money = get(KEYS[1], 'held', 'money')
  return filled(why) or cjson.decode(money).notice
end

local state_before, notice_before, money_before = job_state(job), notice(), redis.call('HGET', KEYS[1], 'money')
for field, value in pairs(fields) do redis.call('HSET', KEYS[1], field, value) end
if fields.settled == '1' then redis.call('ZREM', KEYS[2], job) end
if notice() ~= notice_before or redis.call('HGET', KEYS[1], 'money') ~= money_before then
  -- The figures are read by whoever tells it: cjson keeps 14 digits only.
  tell(job, 'money', { notice = notice() })
end
settle(job)
if job_state(job) ~= state_before then redis.call('XADD', KEYS[3], 'MAXLEN', '~', RINGS_KEPT, '*', 'job', job) end
return 1
