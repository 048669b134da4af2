-- What wrk sends: the tokens of a file in their order, again and again, each with the same further headers.
--
-- Arguments: the file of tokens, one a line, or an empty line for a request without one; the file of headers, `name: value`
-- a line; how many tokens are passed over at first. Requests are made before the first is sent, unless there are very many:
-- LuaJIT looks at a few bytes of a string to find it again, and at the same ones of all of them. The last line that it prints
-- has what the driver reads.

local MOST = 20000
local MARK = "@TOKEN@"
local requests, position = {}, 0
local before, behind

function init(arguments)
  local headers = {}
  for line in io.lines(arguments[2]) do
    local name, value = line:match("^([^:]+): (.*)$")
    headers[name] = value
  end
  local tokens = {}
  for token in io.lines(arguments[1]) do
    tokens[#tokens + 1] = token
  end
  if #tokens > MOST then
    headers["authorization"] = "Bearer " .. MARK
    before, behind = wrk.format("GET", wrk.path, headers):match("^(.*)" .. MARK .. "(.*)$")
    requests = tokens
  else
    for _, token in ipairs(tokens) do
      headers["authorization"] = token ~= "" and "Bearer " .. token or nil
      requests[#requests + 1] = wrk.format("GET", wrk.path, headers)
    end
  end
  position = tonumber(arguments[3]) % #requests
end

function request()
  position = position % #requests + 1
  if before then
    return before .. requests[position] .. behind
  end
  return requests[position]
end

function done(summary)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("TOTAL %d %d %d %d\n", summary.requests, summary.duration, errors.status, broken))
end
