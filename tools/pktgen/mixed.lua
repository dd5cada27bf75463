-- SPDX-License-Identifier: Apache-2.0
-- Whole connections of all kinds, both ways at once: `tools/pktgen/capture mixed` goes into the front, `capture return`
-- into the back.
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, traffic = require "keyrail", require "traffic"
local settings = keyrail.settings

settings.tx, settings.rx = keyrail.setting("TX", "0,1"), keyrail.setting("RX", "0,1")
keyrail.run("mixed", function()
    return {traffic.replay()(settings.rate)}
end)
