-- Until when a lease admits changes, in µs; '' when it does not.
-- KEYS: leases. ARGV: life, margin (µs), by which the clocks of two masters may differ.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local expires = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expires or expires - ARGV[2] <= now then
  return ''
end
return string.format('%.0f', expires - ARGV[2])
