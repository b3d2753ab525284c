-- Everybody who waits is in the line.
-- KEYS: the line, when people were seen. ARGV: when all of it is forgotten (milliseconds since the epoch).
redis.call('ZADD', KEYS[1], -1, '')
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
