-- Who has not been seen for a while, longest first; nobody if the line is not known.
-- KEYS: the line, when people were seen. ARGV: for how long (microseconds), how many at the most.
if not redis.call('ZSCORE', KEYS[1], '') then
  return {}
end
local time = redis.call('TIME')
local before = tonumber(time[1]) * 1000000 + tonumber(time[2]) - tonumber(ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', before), 'LIMIT', 0, ARGV[2])
