-- SPDX-License-Identifier: Apache-2.0
-- A SYN flood from 131 000 addresses and all high ports. Late binding answers each SYN (KR_RX=0 counts the SYN-ACKs), early
-- binding and plain layer 4 forward it (KR_RX=1).
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, traffic = require "keyrail", require "traffic"

keyrail.run("syn_flood", function()
    return {traffic.syns()(keyrail.settings.rate)}
end)
