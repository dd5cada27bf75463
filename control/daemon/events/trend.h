// SPDX-License-Identifier: Apache-2.0
// How the chassis has done in the last hour, five seconds at a time: what counters have grown by. A counter
// that begins anew (a store that was made anew, keyrail-dp restarted) has grown by what it says since. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "dataplane/common/ids.h"

namespace keyrail {

/// Of the time before `unix_ms`.
struct TrendSample {
    uint64_t unix_ms = 0;
    double seconds = 0;
    uint64_t resumed = 0, full = 0;        // handshakes of all blades
    uint64_t moved = 0, moves_failed = 0;  // sessions
    uint64_t drops = 0;                    // packets
    double cpu_saved_s = 0;                // of servers, by resumptions
};

/// Counters, each since something of its own.
struct TrendTotals {
    struct Handshakes {
        uint64_t resumed = 0, full = 0;
    };
    std::map<BladeId, Handshakes> blades;  // those whose agents have reported
    uint64_t moved = 0, moves_failed = 0;
    std::optional<uint64_t> drops;  // nullopt: keyrail-dp did not say
    double cpu_saved_s = 0;
};

class Trend {
  public:
    static constexpr std::chrono::seconds kEvery{5};
    static constexpr size_t kKept = 720;

    /// The first ones are only where counting begins.
    void take(uint64_t unix_ms, const TrendTotals& totals);
    /// The oldest first.
    [[nodiscard]] const std::deque<TrendSample>& samples() const { return samples_; }

  private:
    std::deque<TrendSample> samples_;
    TrendTotals last_;
    uint64_t last_ms_ = 0;
};

}  // namespace keyrail
