-- Writes down what the books say of a paid job, and what follows for its state.
--
-- Returns  1, or 0 where there is no such paid job

local job, fields = arg.job, arg.fields
if not is_paid(job) then return 0 end

local function notice()
  local why, money = get(job_key(job), 'held', 'money')
  return filled(why) or cjson.decode(money).notice
end

local state_before, notice_before, money_before = job_state(job), notice(), redis.call('HGET', job_key(job), 'money')
for field, value in pairs(fields) do redis.call('HSET', job_key(job), field, value) end
if fields.settled == '1' then redis.call('ZREM', 'farm:jobs:paid', job) end
if notice() ~= notice_before or redis.call('HGET', job_key(job), 'money') ~= money_before then
  -- The figures are read by whoever tells it: cjson keeps 14 digits only.
  tell(job, 'money', { notice = notice() })
end
settle(job)
if job_state(job) ~= state_before then redis.call('XADD', 'farm:work:changed', 'MAXLEN', '~', RINGS_KEPT, '*', 'job', job) end
return 1
