-- Extends a lease that has not run out.
-- KEYS: leases, book. ARGV: life, length (µs), time to live (ms). Answers 1, or 0: it has run out.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local expires = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expires or tonumber(expires) <= now then
  return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
