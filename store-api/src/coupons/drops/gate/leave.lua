-- Takes people out of a drop, but for those whose place is theirs for good.
-- KEYS: the drop. ARGV: people.
for n = 1, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[n])
  if score and score ~= 'inf' then
    redis.call('ZREM', KEYS[1], ARGV[n])
  end
end
