-- Requests for wrk, and what came of them as one line of JSON.
-- Words after --: method, bytes of body, and a file with one bearer token a line, each sent in its turn.

local requests, turn

function init(words)
  local method, size, tokens = words[1] or 'GET', tonumber(words[2] or '0'), words[3]
  wrk.method = method
  if size > 0 then
    wrk.body = string.rep('x', size)
    wrk.headers['Content-Type'] = 'application/octet-stream'
  end
  if tokens then
    requests, turn = {}, 0
    for token in io.lines(tokens) do
      wrk.headers['Authorization'] = 'Bearer ' .. token
      requests[#requests + 1] = wrk.format()
    end
  end
end

local whole
function request()
  if not requests then
    whole = whole or wrk.format()
    return whole
  end
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"bytes":%d,"p50":%f,"p99":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
