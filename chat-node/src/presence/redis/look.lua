-- Whether what the store holds is all there is.
-- KEYS: leases, book. ARGV: this node's life or '', how long nodes take to hand all over again (µs).
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if ARGV[1] ~= '' and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 'lost'
end
local book = redis.call('HMGET', KEYS[2], 'born', 'forgot')
if book[2] and now < book[1] + ARGV[2] then
  return 'forgot'
end
return 'whole'
