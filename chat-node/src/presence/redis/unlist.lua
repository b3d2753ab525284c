-- Takes users whom a life no longer holds out of its list, unless they came back meanwhile.
-- KEYS: list. ARGV: pairs of a user and a number.
for n = 1, #ARGV, 2 do
  local listed = redis.call('ZSCORE', KEYS[1], ARGV[n])
  if listed and tonumber(listed) <= tonumber(ARGV[n + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[n])
  end
end
return 0
