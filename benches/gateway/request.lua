-- What wrk sends: the tokens of a file in their order, again and again, each with the same further headers.
--
-- Arguments: the file of tokens, one a line, or an empty line for a request without one; the file of headers, `name: value`
-- a line; how many tokens are passed over at first. All requests are made before the first is sent. The last line that it
-- prints has what the driver reads.

local requests, position = {}, 0

function init(arguments)
  local headers = {}
  for line in io.lines(arguments[2]) do
    local name, value = line:match("^([^:]+): (.*)$")
    headers[name] = value
  end
  for token in io.lines(arguments[1]) do
    headers["authorization"] = token ~= "" and "Bearer " .. token or nil
    requests[#requests + 1] = wrk.format("GET", wrk.path, headers)
  end
  position = tonumber(arguments[3]) % #requests
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("TOTAL %d %d %d %d\n", summary.requests, summary.duration, errors.status, broken))
end
