-- SPDX-License-Identifier: Apache-2.0
-- A SYN flood, by a capture of `tools/pktgen/capture syns`, which has a Linux client's options. Late binding answers each
-- SYN (KR_RX=0 counts the SYN-ACKs), early binding and plain layer 4 forward it (KR_RX=1).
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, replay = require "keyrail", require "traffic"

keyrail.read_settings()
keyrail.run("syn_flood", function()
    return {replay()(keyrail.settings.rate)}
end)
