-- Sends the requests of a file, in their order, and prints what came of it as one line of JSON.
--
--   wrk … -s load.lua URL -- FILE once|again [PAUSE]
--
-- Each line of FILE is a request: method, path, token, "Name: value" of one more header, and body, with
-- tabs between them and "-" for what is not there. `once` stops after the last line, and counts answers by their
-- status; `again` begins anew, and leaves that to wrk, which knows 2xx from the rest. With PAUSE each connection waits so
-- many milliseconds before a request, on average and without memory, as people do who know nothing of each other.

local ffi = require("ffi")
ffi.cdef([[int getpid(void); int kill(int pid, int signal);]])
local SIGINT = 2

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  -- wrk asks for one request beforehand, to look at it.
  requests, sent = {}, -1
  for line in io.lines(args[1]) do
    local method, path, token, more, body = line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
    local headers = {}
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    if more ~= "-" then
      local name, value = more:match("^(.-): (.*)$")
      headers[name] = value
    end
    if body == "-" then
      body = nil
    else
      headers["Content-Type"] = "application/json"
    end
    requests[#requests + 1] = wrk.format(method, path, headers, body)
  end
  if args[2] == "once" then
    statuses, answered = {}, 0
    response = count
  end
  if args[3] then
    local pause = tonumber(args[3])
    math.randomseed(1)
    delay = function() return math.floor(0.5 - pause * math.log(1 - math.random())) end
  end
end

function request()
  sent = sent + 1
  -- Nothing is left to be sent: whoever is done waits for the others.
  if statuses and sent > #requests then return "" end
  return requests[(sent - 1) % #requests + 1]
end

-- wrk itself knows no end but that of its time, or an interrupt, which it notices within a tenth of a second.
function count(status)
  local name = tostring(status)
  statuses[name] = (statuses[name] or 0) + 1
  answered = answered + 1
  if answered == #requests then ffi.C.kill(ffi.C.getpid(), SIGINT) end
end

function done(summary, latency)
  local statuses = {}
  for _, thread in ipairs(threads) do
    for status, times in pairs(thread:get("statuses") or {}) do
      statuses[#statuses + 1] = string.format('"%s": %d', status, times)
    end
  end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
      .. '"refused": %d, "broken": %d, "statuses": {%s}}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    table.concat(statuses, ", ")))
end
