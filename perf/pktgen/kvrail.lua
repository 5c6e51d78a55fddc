-- SPDX-License-Identifier: Apache-2.0
-- Pktgen-DPDK: does steps of a rate search. They come on one pipe, a line each: frames a second (0 =
-- all that go) and milliseconds. Results leave on another: frames sent, frames that came back. The
-- search counts at the server; what comes back here only tells whether replies get this far.
--
-- Environment: KVRAIL_STEPS, KVRAIL_RESULTS (pipes), KVRAIL_FRAME (mean bytes of a frame).

local port = "0"
local overhead = 24 -- of a frame on the wire, as Pktgen counts: preamble, gap, CRC
local settle_ms = 1500 -- its counters are as of the last full second
local frame = tonumber(os.getenv("KVRAIL_FRAME"))
local steps = assert(io.open(os.getenv("KVRAIL_STEPS"), "r"))
local results = assert(io.open(os.getenv("KVRAIL_RESULTS"), "w"))

local function say(...)
    results:write(..., "\n")
    results:flush()
end

-- "<UP-10000-FD>" or so.
local function link_mbps()
    local text = pktgen.linkState(port)[tonumber(port)]
    return tonumber(string.match(text, "UP%-(%d+)")) or 10000
end

local function counters()
    local now = pktgen.portStats(port, "port")[tonumber(port)]
    return now.opackets, now.ipackets
end

local function percent(rate)
    if rate == 0 then
        return 100
    end
    return math.min(100, rate * (frame + overhead) * 8 / (link_mbps() * 10000))
end

local function step(rate, ms)
    local sent, back = counters()
    pktgen.set(port, "rate", percent(rate))
    pktgen.start(port)
    pktgen.delay(ms)
    pktgen.stop(port)
    pktgen.delay(settle_ms)
    local sent_now, back_now = counters()
    say(string.format("%d %d", sent_now - sent, back_now - back))
end

pktgen.screen("off")
pktgen.set(port, "txburst", 32)
say("ready ", link_mbps())
for line in steps:lines() do
    local rate, ms = string.match(line, "^(%d+) (%d+)$")
    step(tonumber(rate), tonumber(ms))
end
pktgen.quit()
