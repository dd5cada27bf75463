-- SPDX-License-Identifier: Apache-2.0
-- The highest rate without loss (RFC 2544 section 26.1) of KR_TRAFFIC: syns, or replay (the captures of pktgen's -s).
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, traffic = require "keyrail", require "traffic"

keyrail.run("rate_sweep", function()
    local name = keyrail.setting("TRAFFIC", "replay")
    local prepare = traffic[name] or error("KR_TRAFFIC must be syns or replay, not " .. name, 0)
    return keyrail.search(prepare())
end)
