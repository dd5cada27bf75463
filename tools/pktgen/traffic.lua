-- SPDX-License-Identifier: Apache-2.0
-- What is sent. Each function sets the sending ports up and returns what makes a trial of them at a rate.
local keyrail = require "keyrail"
local settings, setting = keyrail.settings, keyrail.setting
local traffic = {}

-- A field that counts up: its first value, its last, and where it begins again.
local function range(field, first, last, step)
    local set = pktgen.range[field]
    set(settings.tx, "start", first)
    set(settings.tx, "min", first)
    set(settings.tx, "max", last or first)
    set(settings.tx, "inc", step)
end

-- SYNs from a block of addresses and all high ports to the service.
function traffic.syns()
    pktgen.range.dst_mac(settings.tx, "start", setting("MAC", "ff:ff:ff:ff:ff:ff")) -- of the dispatcher's front port
    pktgen.range.set_type(settings.tx, "ipv4")
    pktgen.range.ip_proto(settings.tx, "tcp")
    range("src_ip", setting("FIRST_SOURCE", "198.18.0.1"), setting("LAST_SOURCE", "198.19.255.254"), "0.0.0.1")
    range("dst_ip", setting("VIP", "198.51.100.1"), nil, "0.0.0.0")
    -- A step of its own, so that addresses and ports do not go in pairs; below 65535 - 7, where 23.03 would get stuck.
    range("src_port", 1024, 65500, 7)
    range("dst_port", math.tointeger(setting("PORT", 443)), nil, 0)
    range("pkt_size", math.tointeger(setting("SIZE", 64)), nil, 0)
    pktgen.set_range(settings.tx, "on")
    keyrail.command("range " .. settings.tx .. " tcp flag clr all", "range " .. settings.tx .. " tcp flag set syn",
                    "range " .. settings.tx .. " tcp seq 1 1 2000000000 64007")
    return keyrail.trial
end

-- What tools/pktgen/capture says about a capture, beside it.
local function about(capture)
    local file = assert(io.open(capture .. ".json"), capture .. ".json: made by tools/pktgen/capture, is missing")
    local text = file:read("a")
    file:close()
    local facts = {}
    for name, value in text:gmatch('"([%w_]+)": (%d+)') do facts[name] = tonumber(value) end
    return facts
end

-- The captures that pktgen was started with (-s PORT:FILE), over and over. KR_CAPTURE is the one of the first sending port.
function traffic.replay()
    local facts = about(setting("CAPTURE", "storm.pcap"))
    pktgen.pcap(settings.tx, "on")
    return function(rate)
        local trial = keyrail.trial(rate)
        local first = trial.first
        local size = first.sent > 0 and first.bytes / first.sent or 0 -- with or without the FCS; 0: not counted here
        if size > 0 and math.abs(size - facts.bytes / facts.packets) > 8 then
            error(string.format("packets of %.0f bytes were sent, the capture has %.0f: start pktgen with -s %s:%s", size,
                                facts.bytes / facts.packets, settings.tx, setting("CAPTURE", "storm.pcap")), 0)
        end
        trial.hellos_per_second = first.sent / trial.seconds * facts.hellos / facts.packets * (1 - trial.loss / 100)
        return trial
    end
end

return traffic
