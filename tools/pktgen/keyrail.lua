-- SPDX-License-Identifier: Apache-2.0
-- What the scripts share: settings from the environment, a trial, RFC 2544's search, reports. Pktgen-DPDK 23.03, Lua 5.3.
-- Rates are in percent of the link, as pktgen has them; loss in percent of what was sent; times in seconds.
local keyrail = {}

local function setting(name, default)
    local text = os.getenv("KR_" .. name)
    if text == nil or text == "" then return default end
    if math.type(default) == nil then return text end
    local number = tonumber(text)
    if not number then pktgen.quit() end -- the script has not begun: nobody else would
    return number or error("KR_" .. name .. " must be a number, not " .. text, 0)
end

local settings = {
    tx = setting("TX", "0"),                      -- pktgen's ports that send
    rx = setting("RX", "1"),                      -- those that count what comes back; may be the same ones
    rate = setting("RATE", 100),                  -- of the link's speed; a search begins here
    seconds = setting("SECONDS", 10),             -- of a trial; RFC 2544 section 24 wants 60 for a figure to publish
    loss = setting("LOSS", 0),                    -- what a search lets pass; RFC 2544 knows 0 only
    precision = setting("PRECISION", 1),          -- a search ends when it knows the rate to within this much
    report = setting("REPORT", "keyrail-report"), -- .json and .csv are written
}
keyrail.setting, keyrail.settings = setting, settings

-- os.time() has whole seconds, os.clock() counts the time of all of pktgen's cores.
local function now()
    local file = assert(io.open("/proc/uptime"))
    local seconds = file:read("n")
    file:close()
    return seconds
end

local function sum(ports, counter)
    local total, stats = 0, pktgen.portStats(ports, "port")
    for port, of_port in pairs(stats) do
        if port ~= "n" then total = total + of_port[counter] end
    end
    return total
end

-- Lines that pktgen's command line knows and its Lua functions do not: the flags of TCP.
function keyrail.command(...)
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(table.concat({...}, "\n"), "\n")
    file:close()
    pktgen.load(name)
    os.remove(name)
end

-- Sends at `rate` for the time of a trial, and counts.
function keyrail.trial(rate)
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
        first = {sent = sum(first, "opackets"), bytes = sum(first, "obytes")}, -- of the first sending port alone
    }
    print(string.format("keyrail: rate %6.2f %%: sent %d, received %d, lost %.4f %%", rate, sent, received, trial.loss))
    return trial
end

-- RFC 2544 section 26.1, by halves: the fastest rate at which no more is lost than `settings.loss`. Returns all trials,
-- and the best one or nil.
function keyrail.search(trial)
    local trials, best = {}, nil
    local function passes(rate)
        local result = trial(rate)
        result.passes = result.sent > 0 and result.loss <= settings.loss
        trials[#trials + 1] = result
        if result.passes then best = result end
        return result.passes
    end
    local low, high = 0, settings.rate
    if passes(high) then return trials, best end
    while high - low > settings.precision do
        local middle = (low + high) / 2
        if passes(middle) then low = middle else high = middle end
    end
    return trials, best
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

local COLUMNS = {"rate", "seconds", "sent", "received", "missed", "loss", "sent_pps", "received_pps"}

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
