-- SPDX-License-Identifier: Apache-2.0
-- What the scripts share: settings from the environment, a trial, searches, reports. Pktgen-DPDK 23.03, Lua 5.3.
-- Rates are in percent of the link, as pktgen has them; loss in percent of what was sent; times in seconds.
local keyrail = {}

-- The scripts run before pktgen listens to anybody: who does not end it leaves it at its prompt.
local function refuse(...)
    pktgen.quit()
    error(string.format(...), 0)
end

local function setting(name, default, least, most)
    local text = os.getenv("KR_" .. name)
    if text == nil or text == "" then return default end
    if math.type(default) == nil then return text end
    local number = tonumber(text) or refuse("KR_%s must be a number, not %s", name, text)
    if number < least or number > most then refuse("KR_%s must be from %g to %g, not %s", name, least, most, text) end
    return math.type(default) == "integer" and (math.tointeger(number) or refuse("KR_%s must be a whole number", name))
        or number
end

local function ports(name, default)
    local list = setting(name, default)
    for port in (list .. ","):gmatch("(.-),") do
        local number = math.tointeger(tonumber(port)) or refuse("KR_%s: '%s' is no list of ports like 0,1", name, list)
        if number < 0 or number >= pktgen.portCount() then
            refuse("KR_%s: pktgen has no port %d, but 0 to %d", name, number, pktgen.portCount() - 1)
        end
    end
    return list
end

-- An old report is not the result of a run that has failed.
local report = setting("REPORT", "keyrail-report") -- .json and .csv are written
for _, suffix in ipairs({".json", ".csv"}) do os.remove(report .. suffix) end

for _, name in ipairs({"MAC", "VIP", "PORT", "SIZE", "FIRST_SOURCE", "LAST_SOURCE", "TRAFFIC"}) do
    if os.getenv("KR_" .. name) then refuse("KR_%s is no setting: captures say it (tools/pktgen/capture --help)", name) end
end

-- `tx`, `rx`: the defaults of a script.
function keyrail.read_settings(tx, rx)
    keyrail.settings = {
        tx = ports("TX", tx or "0"),                        -- pktgen's ports that send
        rx = ports("RX", rx or "1"),                        -- those that count what comes back; may be the same ones
        rate = setting("RATE", 100.0, 0.001, 100),          -- of the link's speed; a search begins here
        seconds = setting("SECONDS", 10.0, 0.1, 86400),     -- of a trial; RFC 2544 section 24 wants 60 to publish
        trials = setting("TRIALS", 3, 1, 99),               -- of a search at each rate; most of them decide
        loss = setting("LOSS", 0.0, 0, 99),                 -- what a search lets pass; RFC 2544 knows 0 only
        precision = setting("PRECISION", 1.0, 0.001, 50),   -- a search ends when it knows the rate to within this much
        step = setting("STEP", 10.0, 0.1, 50),              -- of a loss curve; RFC 2544 section 26.3 wants 10 or less
        capture = setting("CAPTURE", "storm.pcap"),         -- what the first sending port replays
        stats = setting("STATS", ""),                       -- a command that prints `keyrail stats --json`
        report = report,
    }
    return keyrail.settings
end

-- os.time() has whole seconds, os.clock() counts the time of all of pktgen's cores.
local function now()
    local file = assert(io.open("/proc/uptime"))
    local seconds = file:read("n")
    file:close()
    return seconds
end

local function sum(list, counter)
    local total, stats = 0, pktgen.portStats(list, "port")
    for port, of_port in pairs(stats) do
        if port ~= "n" then total = total + of_port[counter] end
    end
    return total
end

-- The dispatcher's own counters by reason, or nil.
local function reasons()
    local command = keyrail.settings.stats
    if command == "" then return nil end
    local pipe = io.popen(command)
    local text = pipe:read("a")
    pipe:close()
    local object = text:match('"reasons"%s*:%s*(%b{})')
        or error("KR_STATS: '" .. command .. "' does not print what `keyrail stats --json` does", 0)
    local counts = {}
    for name, value in object:gmatch('"([%w_]+)"%s*:%s*(%d+)') do counts[name] = tonumber(value) end
    return counts
end

-- What became of the packets. A capture cannot bring late binding's cookies back: then its packets are of no connection.
local NO_HELLO = {steer_midstream = true, steer_tuple = true, steer_not_tls = true}
local function judge(trial, before, after)
    local top, hellos = nil, 0
    trial.reasons = {}
    for name, count in pairs(after) do
        local more = count - (before[name] or 0)
        if more > 0 then trial.reasons[name] = more end
        if more > (trial.reasons[top] or 0) then top = name end
        if name:match("^steer_") and not NO_HELLO[name] then hellos = hellos + more end
    end
    if top == "steer_midstream" then
        error(string.format("%d packets were of no connection (steer_midstream): late binding's SYN cookies cannot be " ..
                            "replayed; bind early, or use tools/loadgen", trial.reasons[top]), 0)
    end
    trial.hellos_per_second = hellos / trial.seconds
end

-- Packets a second that `rate` means on the first sending port, or nil where the link has no speed. With preamble, gap
-- and FCS.
local function asked_pps(rate, first, size)
    local state = pktgen.linkState(first)[math.tointeger(tonumber(first))]
    local megabits = tonumber(tostring(state):match("%-(%d+)%-"))
    return megabits and rate / 100 * megabits * 1e6 / 8 / (size + 24) or nil
end

-- Sends at `rate` for the time of a trial, and counts. `size`: of the first port's packets, without FCS, at the mean.
function keyrail.trial(rate, size)
    local settings = keyrail.settings
    local before = reasons()
    pktgen.set(settings.tx, "rate", rate)
    pktgen.clear("all")
    local begin = now()
    pktgen.start(settings.tx)
    pktgen.delay(math.floor(settings.seconds * 1000))
    pktgen.stop(settings.tx)
    local seconds = now() - begin
    pktgen.delay(2200) -- RFC 2544 section 23: two seconds for what is on its way; pktgen counts once a second, too
    local sent, received, first = sum(settings.tx, "opackets"), sum(settings.rx, "ipackets"), settings.tx:match("%d+")
    local trial = {
        rate = rate, seconds = seconds, sent = sent, received = received,
        sent_pps = sent / seconds, received_pps = received / seconds,
        loss = sent > 0 and math.max(0, sent - received) * 100 / sent or 100,
        missed = sum(settings.rx, "imissed") + sum(settings.rx, "rx_nombuf"), -- arrived, but pktgen was too slow
        first = {sent = sum(first, "opackets"), bytes = sum(first, "obytes"), asked_pps = asked_pps(rate, first, size)},
    }
    local asked = trial.first.asked_pps
    trial.paced = asked == nil or math.abs(trial.first.sent / seconds / asked - 1) <= 0.05
    if before then judge(trial, before, reasons()) end
    print(string.format("keyrail: rate %6.2f %%: sent %d, received %d, lost %.4f %%", rate, sent, received, trial.loss))
    if not trial.paced then
        print(string.format("keyrail: pktgen sent %.0f packets a second where %.0f were asked for: README.md says why",
                            trial.first.sent / seconds, asked))
    end
    return trial
end

-- Trials at one rate until most of settings.trials agree: one bad trial is no answer (RFC 9411, MLRsearch). What pktgen
-- itself did not send at that rate passes for nothing. Returns whether it passes, and its last trial.
local function decide(rate, trial, trials)
    local most, good, bad, last = keyrail.settings.trials // 2 + 1, 0, 0, nil
    while good < most and bad < most do
        last = trial(rate)
        last.passes = last.sent > 0 and last.paced and last.loss <= keyrail.settings.loss
        trials[#trials + 1] = last
        if last.passes then good = good + 1 else bad = bad + 1 end
    end
    return good == most, last
end

-- RFC 2544 section 26.1, by halves: the fastest rate at which no more is lost than `settings.loss`. Returns all trials,
-- and the best one or nil.
function keyrail.search(trial)
    local settings, trials, best = keyrail.settings, {}, nil
    local function passes(rate)
        local good, last = decide(rate, trial, trials)
        if good then best = last end
        return good
    end
    local low, high = 0, settings.rate
    if passes(high) then return trials, best end
    while high - low > settings.precision do
        local middle = (low + high) / 2
        if passes(middle) then low = middle else high = middle end
    end
    return trials, best
end

-- RFC 2544 section 26.3: what is lost at each rate, downwards, until nothing is at two rates that follow each other.
function keyrail.loss_curve(trial)
    local settings, trials, clean = keyrail.settings, {}, 0
    for step = 0, math.ceil(settings.rate / settings.step) - 1 do
        local result = trial(settings.rate - step * settings.step)
        trials[#trials + 1] = result
        clean = result.loss == 0 and clean + 1 or 0
        if clean == 2 then break end
    end
    return trials
end

-- JSON of strings, numbers, booleans, lists and tables with names.
local function json(value)
    if type(value) ~= "table" then
        if math.type(value) == "float" then return string.format("%.9g", value) end
        return type(value) == "string" and string.format("%q", value) or tostring(value)
    end
    local parts = {}
    for _, item in ipairs(value) do parts[#parts + 1] = json(item) end
    if #parts > 0 then return "[" .. table.concat(parts, ", ") .. "]" end
    for name, item in pairs(value) do parts[#parts + 1] = string.format("%q: %s", name, json(item)) end
    table.sort(parts)
    return "{" .. table.concat(parts, ", ") .. "}"
end

local COLUMNS = {"rate", "seconds", "sent", "received", "missed", "loss", "sent_pps", "received_pps", "paced"}

local function csv(trials)
    local lines = {table.concat(COLUMNS, ",")}
    for _, trial in ipairs(trials) do
        local fields = {}
        for _, column in ipairs(COLUMNS) do fields[#fields + 1] = json(trial[column]) end
        lines[#lines + 1] = table.concat(fields, ",")
    end
    return table.concat(lines, "\n")
end

local function write(name, text)
    local file = assert(io.open(name, "w"))
    file:write(text, "\n")
    file:close()
    print("keyrail: wrote " .. name)
end

-- Runs `measure`, which returns trials and perhaps the best one; writes the report; ends pktgen, also after an error,
-- unless KR_STAY is set. No report: no result.
function keyrail.run(script, measure)
    local settings = keyrail.settings
    pktgen.screen("off")
    local ok, trials, best = pcall(measure)
    if ok then
        write(settings.report .. ".json", json({
            script = script, pktgen = pktgen.info.Pktgen_Version, dpdk = pktgen.info.DPDK_Version,
            link = pktgen.linkState(settings.tx)[tonumber(settings.tx:match("%d+"))],
            settings = settings, trials = trials, best = best,
        }))
        write(settings.report .. ".csv", csv(trials))
    else
        print("keyrail: " .. script .. ": " .. tostring(trials))
    end
    if setting("STAY", "") == "" then pktgen.quit() end
end

return keyrail
