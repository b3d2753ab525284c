-- Takes a lease.
-- KEYS: leases, book. ARGV: node, length (µs), the birth this node knows or '', time to live (ms).
-- Answers the incarnation, the birth of this store, and 1 when that is not the one the node knows.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local last = tonumber(redis.call('HGET', KEYS[2], 'last') or '0')
-- By the time, so that numbers grow also when the store has lost the last one.
local number = string.format('%.0f', math.max(last + 1, now))
local born = redis.call('HGET', KEYS[2], 'born')
if not born then
  born = string.format('%.0f', now)
  redis.call('HSET', KEYS[2], 'born', born)
end
local forgot = 0
if ARGV[3] ~= '' and ARGV[3] ~= born then
  forgot = 1
  redis.call('HSET', KEYS[2], 'forgot', '1')
end
redis.call('HSET', KEYS[2], 'last', number)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1] .. '/' .. number)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {number, born, forgot}
