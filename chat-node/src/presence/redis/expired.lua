-- Claims expired leases for one reaper, for a time.
-- KEYS: leases, book. ARGV: reaper, length of the claim (µs), most lives. Answers lives.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local lives = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
local claimed = {}
for _, life in ipairs(lives) do
  local claim = redis.call('HGET', KEYS[2], 'reap:' .. life)
  local till, reaper = '0', ARGV[1]
  if claim then
    till, reaper = string.match(claim, '^(%d+)/(.*)$')
  end
  if reaper == ARGV[1] or tonumber(till) <= now then
    redis.call('HSET', KEYS[2], 'reap:' .. life, string.format('%.0f/', now + ARGV[2]) .. ARGV[1])
    claimed[#claimed + 1] = life
  end
end
return claimed
