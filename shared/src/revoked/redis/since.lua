-- What was added since.
-- KEYS: set, its birth. ARGV: the birth the reader knows or '', since (µs), time to live (ms).
-- Answers the birth, the time, and members: all of them where the births differ.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local born = redis.call('GET', KEYS[2])
if not born then
  born = string.format('%.0f', now)
  redis.call('SET', KEYS[2], born)
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3] * 1000))
local from = '-inf'
if born == ARGV[1] then
  -- What a reply to another master's clock may have put a little earlier.
  from = string.format('%.0f', ARGV[2] - 5000000)
end
return {born, string.format('%.0f', now), redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf')}
