// SPDX-License-Identifier: Apache-2.0
// How long to wait before the next attempt to connect: longer each time, and never the same for two agents,
// so that a keyraild that comes back is not met by all of them at once. At most a second while nobody is
// there; at most some seconds where somebody is, and turns us away.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>

namespace keyrail {

class Backoff {
  public:
    using Duration = std::chrono::milliseconds;
    static constexpr Duration kFirst{50}, kMax{1000}, kMaxTurnedAway{5000};

    Duration next(Duration longest = kMax) {
        const auto most = std::min(limit_, longest);
        limit_ = std::min(most * 2, longest);
        return Duration(
            std::uniform_int_distribution<Duration::rep>(most.count() / 2, most.count())(random_));
    }
    void reset() { limit_ = kFirst; }

  private:
    Duration limit_ = kFirst;
    std::minstd_rand random_{std::random_device{}()};
};

}  // namespace keyrail
