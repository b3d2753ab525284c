-- Gives people their places in a drop for good; the empty name says that the drop is known.
-- KEYS: the drop. ARGV: when all of it is forgotten (milliseconds since the epoch), then people.
for n = 2, #ARGV do
  redis.call('ZADD', KEYS[1], '+inf', ARGV[n])
end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
