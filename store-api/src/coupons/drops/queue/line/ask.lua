-- Where somebody stands in a line: their number and how many are ahead; an empty list if they are not in it; nothing if
-- the line is not known. They are seen by that.
-- KEYS: the line, when people were seen. ARGV: the person.
if not redis.call('ZSCORE', KEYS[1], '') then
  return false
end
local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not number then
  return {}
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2])), ARGV[1])
-- The empty name stands before everybody.
return {tonumber(number), redis.call('ZRANK', KEYS[1], ARGV[1]) - 1}
