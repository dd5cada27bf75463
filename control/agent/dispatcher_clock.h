// SPDX-License-Identifier: Apache-2.0
// How far the dispatcher's TAI clock is ahead of this machine's CLOCK_BOOTTIME, which nobody sets: from what
// keyraild says with each ping. A ping is on its way for a while, sometimes for long: the one that says the
// most was the fastest. Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

namespace keyrail {

class DispatcherClock {
  public:
    using Ms = std::chrono::milliseconds;

    /// What a ping says, and when it came. Returns by how much the other clock is ahead.
    Ms told(Ms there, Ms here) {
        const Ms said = there - here;
        const bool same_clock = ahead_ && said > *ahead_ - kSlowest && said < *ahead_ + kSlowest;
        ahead_ = same_clock ? std::max(said, *ahead_ - kDrift) : said;
        return *ahead_;
    }

  private:
    static constexpr Ms kSlowest{1000};  // a ping that is later, or early, means that a clock was set
    static constexpr Ms kDrift{1};       // between two pings, at most
    std::optional<Ms> ahead_;
};

}  // namespace keyrail
