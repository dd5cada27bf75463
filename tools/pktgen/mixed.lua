-- SPDX-License-Identifier: Apache-2.0
-- Whole connections of all kinds, both ways at once: `tools/pktgen/capture mixed` goes into the front, `capture return`
-- into the back.
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, replay = require "keyrail", require "traffic"

keyrail.read_settings("0,1", "0,1")
keyrail.run("mixed", function()
    return {replay()(keyrail.settings.rate)}
end)
