-- Replaces what one life holds of a user.
-- KEYS: user. ARGV: life, number, at (ms), deadline (µs) or '0', time to live (ms), mark, state.
-- Answers what happened, what was lost, the number of the last change by this life that others may
-- see, and the user's whole hash.
--
-- A holding is MARK NUMBER:TIME:SHOWN:STATE, where SHOWN is that number. Marks: v visible, i invisible; and as a trace of what is gone,
-- which refuses what was asked before it but comes after it: - given up, r reaped (STATE is then what
-- was lost, answered again to a reaper whose predecessor did not live to hear it).
local TRACE = 600 * 1000000
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if ARGV[4] ~= '0' and now >= tonumber(ARGV[4]) then
  return {'expired', false, 0, {}}
end
local key = 'h:' .. ARGV[1]
local number = tonumber(ARGV[2])
local function parts(value)
  return string.match(value, '^(.)(%d+):(%d+):(%d+):(.*)$')
end
local own = {mark = '-', number = 0, shown = 0, state = ''}
local version, seen
local held, hidden = 0, 0
local before = redis.call('HGETALL', KEYS[1])
for n = 1, #before, 2 do
  local field, value = before[n], before[n + 1]
  if field == 'v' then
    version = tonumber(value)
  elseif field == 's' then
    seen = tonumber(value)
  elseif string.sub(field, 1, 2) == 'h:' then
    local mark, of, since, shown, state = parts(value)
    if field == key and mark then
      own = {mark = mark, number = tonumber(of), shown = tonumber(shown), state = state}
    end
    if mark == 'v' or mark == 'i' then
      held = held + 1
      if mark == 'i' then
        hidden = hidden + 1
      end
    elseif field ~= key and now - (since or 0) > TRACE then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
local function there(mark)
  return mark == 'v' or mark == 'i'
end
local mark, state = ARGV[6], ARGV[7]
local shown = own.shown
local lost = false
if there(own.mark) or own.mark == 'r' then
  lost = own.state
end
local happened = 'nothing'
if number >= own.number then
  local changed = there(own.mark) or there(mark)
  if there(own.mark) and there(mark) then
    changed = own.mark ~= mark or own.state ~= state
  end
  local was = held > 0 and hidden == 0
  if there(own.mark) then
    held = held - 1
    if own.mark == 'i' then hidden = hidden - 1 end
  end
  if there(mark) then
    held = held + 1
    if mark == 'i' then hidden = hidden + 1 end
  end
  local is = held > 0 and hidden == 0
  if changed and mark ~= 'r' and (was or is) then
    shown = number
  end
  if mark == 'r' and lost then
    state = lost
  elseif mark == 'r' then
    mark = '-'
  end
  redis.call('HSET', KEYS[1], key, mark .. ARGV[2] .. string.format(':%.0f:%.0f:', now, shown) .. state)
  if changed or not version then
    -- By the time, so that versions grow also over what the store has lost.
    version = math.max((version or 0) + 1, now)
    redis.call('HSET', KEYS[1], 'v', string.format('%.0f', version), 'c', ARGV[3])
    if was and not is then
      redis.call('HSET', KEYS[1], 's', string.format('%.0f', math.max(seen or 0, tonumber(ARGV[3]))))
      happened = 'went'
    elseif is and not was then
      happened = 'came'
    end
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return {happened, lost, shown, redis.call('HGETALL', KEYS[1])}
