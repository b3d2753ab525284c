-- Lets people in to a drop.
-- KEYS: the drop: people by until when their place is kept, in microseconds; +inf: for good. The empty name: it is known.
-- ARGV: places, how long a place is kept (microseconds), then people. Answers 1 or 0 for each, or nothing.
local drop = KEYS[1]
if not redis.call('ZSCORE', drop, '') then
  return false
end
local places, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local spelled = function(number) return string.format('%.0f', number) end
local taken = redis.call('ZCARD', drop) - 1
local freed = false
local answers = {}
for n = 3, #ARGV do
  local person = ARGV[n]
  local score = redis.call('ZSCORE', drop, person)
  if score then
    if score ~= 'inf' then
      redis.call('ZADD', drop, spelled(now + kept), person)
    end
    answers[#answers + 1] = 1
  else
    if taken >= places and not freed then
      -- Once is enough: the clock stands still in a script.
      freed = true
      taken = taken - redis.call('ZREMRANGEBYSCORE', drop, '-inf', spelled(now))
    end
    if taken < places then
      redis.call('ZADD', drop, spelled(now + kept), person)
      taken = taken + 1
      answers[#answers + 1] = 1
    else
      answers[#answers + 1] = 0
    end
  end
end
return answers
