-- The nodes whose lease has not expired, each with its place.
-- KEYS: leases, places.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local found = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')) do
  local place = redis.call('HGET', KEYS[2], node)
  if place then
    found[#found + 1] = {node, place}
  end
end
return found
