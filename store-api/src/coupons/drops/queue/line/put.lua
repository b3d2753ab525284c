-- Puts people into a line.
-- KEYS: the line: people by their numbers, the empty name at -1 if all are known; people by when they were seen, in microseconds.
-- ARGV: when all of it is forgotten (milliseconds since the epoch), then number and name of each.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
for n = 2, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[n], ARGV[n + 1])
  redis.call('ZADD', KEYS[2], 'NX', now, ARGV[n + 1])
end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
