-- Takes people out of a line.
-- KEYS: the line, when people were seen. ARGV: people.
for n = 1, #ARGV do
  redis.call('ZREM', KEYS[1], ARGV[n])
  redis.call('ZREM', KEYS[2], ARGV[n])
end
