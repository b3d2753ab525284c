-- Some of whom a life leaves behind: those it may hold, and when there are none, those it may not have
-- told of.
-- KEYS: list, untold. ARGV: most users. Answers users and since which number they are untold, or -1.
local some = {}
local listed = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
for _, user in ipairs(listed) do
  some[#some + 1] = {user, redis.call('ZSCORE', KEYS[2], user) or '-1'}
end
if #listed == 0 then
  local untold = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1, 'WITHSCORES')
  for n = 1, #untold, 2 do
    some[#some + 1] = {untold[n], untold[n + 1]}
  end
end
return some
