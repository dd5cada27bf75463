-- SPDX-License-Identifier: Apache-2.0
-- What is sent: the captures that pktgen was started with (-s PORT:FILE), over and over. Returns what makes a trial of
-- them at a rate. KR_CAPTURE is the one of the first sending port.
local keyrail = require "keyrail"

-- What tools/pktgen/capture says about a capture, beside it.
local function about(capture)
    local file = assert(io.open(capture .. ".json"), capture .. ".json: made by tools/pktgen/capture, is missing")
    local text = file:read("a")
    file:close()
    local facts = {}
    for name, value in text:gmatch('"([%w_]+)": (%d+)') do facts[name] = tonumber(value) end
    return facts
end

local function check_size(first, facts)
    local capture, tx = keyrail.settings.capture, keyrail.settings.tx
    local size = first.sent > 0 and first.bytes / first.sent or 0 -- with or without the FCS; 0: not counted here
    if size == 0 or math.abs(size - facts.bytes / facts.packets) <= 8 then return end
    error(string.format("packets of %.0f bytes were sent, the capture has %.0f: start pktgen with -s %s:%s", size,
                        facts.bytes / facts.packets, tx, capture), 0)
end

return function()
    local settings = keyrail.settings
    local facts = about(settings.capture)
    pktgen.pcap(settings.tx, "on")
    if facts.hellos > 0 and settings.stats == "" then
        print("keyrail: hellos are not counted: give KR_STATS, a command that prints `keyrail stats --json`")
    end
    return function(rate)
        local trial = keyrail.trial(rate, facts.bytes / facts.packets)
        check_size(trial.first, facts)
        return trial
    end
end
