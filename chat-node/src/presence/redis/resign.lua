-- Ends a lease now and claims it for its own node.
-- KEYS: leases, book. ARGV: life, reaper, length of the claim (µs). Answers 1, or 0: there is none.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('HSET', KEYS[2], 'reap:' .. ARGV[1], string.format('%.0f/', now + ARGV[3]) .. ARGV[2])
return 1
