-- Post bodies in turn, so that no server gains from caching an answer; print the result as one line.
--   wrk -s post.lua URL -- FOLDER COUNT CONTENT_TYPE
local requests, turn = {}, 0

function init(args)
   wrk.headers["Content-Type"] = args[3]
   for i = 0, tonumber(args[2]) - 1 do
      local file = assert(io.open(string.format("%s/%05d", args[1], i), "rb"))
      requests[i + 1] = wrk.format("POST", nil, nil, file:read("*all"))
      file:close()
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p95_us": %d, "p99_us": %d, ' ..
      '"status_errors": %d, "socket_errors": %d, "timeouts": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(95),
      latency:percentile(99), e.status, e.connect + e.read + e.write, e.timeout))
end
