-- SPDX-License-Identifier: Apache-2.0
-- What is lost at each rate (RFC 2544 section 26.3), of any capture.
package.path = (debug.getinfo(1, "S").source:match("^@(.*/)") or "./") .. "?.lua;" .. package.path
local keyrail, replay = require "keyrail", require "traffic"

keyrail.read_settings()
keyrail.run("loss_curve", function()
    return keyrail.loss_curve(replay())
end)
