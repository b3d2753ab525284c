-- Adds what is revoked.
-- KEYS: set. ARGV: time to live (ms), members.
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000000 + t[2])
for n = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', now, ARGV[n])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
