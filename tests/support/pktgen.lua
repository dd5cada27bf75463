-- SPDX-License-Identifier: Apache-2.0
-- Stands in for Pktgen-DPDK 23.03 where that is absent: `lua5.3 pktgen.lua SCRIPT` runs the script with a `pktgen` that has
-- the names and the checks of arguments of its app/lpktgenlib.c, for those functions that our scripts use; any other is an
-- error. What sends is a model, or testpmd (KR_TESTPMD, its command line). The model's packets have KR_MODEL_FRAME bytes
-- (default 60, pktgen's own); what comes is lost above KR_MODEL_PPS; no more than KR_MODEL_MAX_PPS are sent, whatever is
-- asked for; of the trials in KR_MODEL_PAUSES (counted from 1, between commas) half is lost.
-- KR_PKTGEN_LOG=FILE keeps a line for each call that configures something.
local PORTS, FRAME = 2, tonumber(os.getenv("KR_MODEL_FRAME") or "60")
local LINE_PPS = 1e10 / 8 / (FRAME + 24)
local log = io.open(os.getenv("KR_PKTGEN_LOG") or "/dev/null", "w")

-- Letters: p a list of ports, s a string, n a number, i an integer, b on or off, or one of these words.
local WHAT = {"count", "size", "rate", "burst", "sport", "dport", "ttl"}
local FUNCTIONS = {
    set = {"p", WHAT, "n"}, start = {"p"}, stop = {"p"}, clear = {"p"}, pcap = {"p", "b"}, 
    delay = {"i"}, screen = {"b"}, quit = {}, portStats = {"p", {"port", "rate"}}, linkState = {"p"}, portCount = {},
}

local function ports(list)
    local found = {}
    for port in (list == "all" and "0,1" or list):gmatch("[^,]+") do
        local number = math.tointeger(tonumber(port))
        assert(number and number < PORTS, "no such port: " .. list)
        found[#found + 1] = number
    end
    return found
end

local CHECK = {
    p = function(value) return type(value) == "string" and #ports(value) > 0 end,
    s = function(value) return type(value) == "string" end,
    n = function(value) return type(value) == "number" end,
    i = function(value) return math.type(value) ~= nil and math.tointeger(value) ~= nil end,
    b = function(value) return value == "on" or value == "off" end,
}

local function fits(kind, value)
    if type(kind) == "string" then return CHECK[kind](value) end
    for _, word in ipairs(kind) do
        if word == value then return true end
    end
    return false
end

local function checked(name, call)
    local kinds = FUNCTIONS[name] or error("pktgen." .. name .. " is not a function of 23.03 that is known here", 3)
    return function(...)
        local given = table.pack(...)
        if given.n ~= #kinds then error(name .. ", wrong number of arguments", 2) end
        for at, kind in ipairs(kinds) do
            if not fits(kind, given[at]) then error("bad argument #" .. at .. " to '" .. name .. "'", 2) end
        end
        if not name:match("^port") and name ~= "delay" then log:write(name, " ", table.concat(given, " "), "\n") end
        return call and call(...)
    end
end

-- Ports without hardware: time goes by when somebody waits, and what is sent comes back at the other port.
local function model()
    local clock, rate, sending, limit = 0.0, 100, false, tonumber(os.getenv("KR_MODEL_PPS") or "1e9")
    local most, trial = tonumber(os.getenv("KR_MODEL_MAX_PPS") or "1e9"), 0
    local pauses = "," .. (os.getenv("KR_MODEL_PAUSES") or "") .. ","
    local counters, open = {}, io.open
    io.open = function(name, ...) -- the time that the machine has been up
        if name ~= "/proc/uptime" then return open(name, ...) end
        return {read = function() return clock end, close = function() end}
    end
    local backend = {}
    function backend.clear() for port = 0, PORTS - 1 do counters[port] = {sent = 0, received = 0} end end
    function backend.set(_, what, value) if what == "rate" then rate = value end end
    function backend.start(list) sending, trial = list, trial + 1 end
    function backend.stop() sending = false end
    function backend.delay(milliseconds)
        clock = clock + milliseconds / 1000
        for _, port in ipairs(sending and ports(sending) or {}) do
            local pps = math.min(LINE_PPS * rate / 100, most)
            local taken = math.min(pps, limit) / (pauses:match("," .. trial .. ",") and 2 or 1)
            counters[port].sent = counters[port].sent + math.floor(pps * milliseconds / 1000)
            local other = counters[PORTS - 1 - port]
            other.received = other.received + math.floor(taken * milliseconds / 1000)
        end
    end
    function backend.counters(port)
        return {sent = counters[port].sent, bytes = counters[port].sent * FRAME, received = counters[port].received}
    end
    backend.clear()
    return backend
end

-- testpmd forwards: its ports 0 and 1 are a capture and the device under test, 2 and 3 what comes out of that and a sink.
local function testpmd(command)
    local output = os.tmpname()
    local pipe = assert(io.popen("stdbuf -oL " .. command .. " >" .. output .. " 2>&1", "w"))
    local asked, backend = 0, {}
    local function tell(...) pipe:write(table.concat({...}, "\n"), "\n"); pipe:flush() end
    -- Each answer ends where testpmd complains about a word of ours.
    local function answer(question)
        asked = asked + 1
        tell(question, "show port info " .. 1000 + asked)
        for _ = 1, 600 do
            local file = io.open(output)
            local text = file:read("a")
            file:close()
            local before = text:match("^(.*)Invalid port " .. 1000 + asked)
            if before then return before:match("Invalid port " .. 999 + asked .. "(.*)$") or before end
            os.execute("sleep 0.05")
        end
        error("testpmd does not answer: see " .. output, 0)
    end
    local function forward(list) tell("stop", "set portlist " .. list, "start") end
    -- A NIC waits where a device under test is full. Plain forwarding drops the rest of the burst, always the same packets
    -- of the capture when bursts divide it, and the mean size of what left is another than the capture's.
    tell("set fwd io retry", "set burst tx delay 1 retry 1000000")
    function backend.clear() answer("clear port stats all") end
    function backend.set() end -- it knows no rates
    function backend.start() forward("0,1,2,3") end
    function backend.stop() forward("2,3") end -- what is on its way still comes in
    function backend.delay(milliseconds) os.execute("sleep " .. milliseconds / 1000) end
    function backend.counters(port)
        local text = answer("show port stats " .. port + 1):match("NIC statistics.*$")
        local function number(name) return tonumber(text:match(name .. ":%s*(%d+)")) end
        return {sent = number("TX%-packets"), bytes = number("TX%-bytes"), received = number("RX%-packets")}
    end
    -- KR_TESTPMD_STAYS=FILE: it ends when that file, which says that all has been sent, is gone again.
    local function stay(file)
        if not file then return end
        io.open(file, "w"):close()
        for _ = 1, 600 do
            local still = io.open(file)
            if not still then return end
            still:close()
            os.execute("sleep 0.05")
        end
    end
    function backend.quit() stay(os.getenv("KR_TESTPMD_STAYS")); tell("stop", "quit"); pipe:close(); os.remove(output) end
    return backend
end

local command = os.getenv("KR_TESTPMD")
local backend = command and testpmd(command) or model()

function backend.portCount() return PORTS end

function backend.portStats(list)
    local stats = {n = #ports(list)}
    for _, port in ipairs(ports(list)) do
        local count = backend.counters(port)
        stats[port] = {ipackets = count.received, opackets = count.sent, obytes = count.bytes, rx_nombuf = 0, imissed = 0}
    end
    return stats
end

function backend.linkState(list)
    local states = {n = #ports(list)}
    for _, port in ipairs(ports(list)) do states[port] = "<UP-10000-FD>" end
    return states
end

pktgen = setmetatable({info = {Pktgen_Version = "Pktgen 23.03.0", DPDK_Version = "in its place"}},
                      {__index = function(_, name) return checked(name, backend[name]) end})
dofile(arg[1])
