-- Takes users out of a list of a life, unless they were listed anew meanwhile.
-- KEYS: list, of whom it holds or of whom it has to tell. ARGV: pairs of a user and a number.
for n = 1, #ARGV, 2 do
  local listed = redis.call('ZSCORE', KEYS[1], ARGV[n])
  if listed and tonumber(listed) <= tonumber(ARGV[n + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[n])
  end
end
return 0
