-- SPDX-License-Identifier: Apache-2.0
-- Connections that end with their ClientHello, by a capture of `tools/pktgen/capture storm`. Early binding: all of it comes
-- out at the blades.
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, replay = require "keyrail", require "traffic"

keyrail.read_settings()
keyrail.run("hello_storm", function()
    return {replay()(keyrail.settings.rate)}
end)
