-- SPDX-License-Identifier: Apache-2.0
-- The highest rate without loss (RFC 2544 section 26.1) of any capture.
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, replay = require "keyrail", require "traffic"

keyrail.read_settings()
keyrail.run("rate_sweep", function()
    return keyrail.search(replay())
end)
