// SPDX-License-Identifier: Apache-2.0
// Makes the HoldForecast of what workers have counted: the latest holds count, older ones ever less.
#pragma once

#include <array>
#include <map>
#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/core/hold_forecast.h"

namespace keyrail {

struct Snapshot;

class Forecaster {
  public:
    /// Nine of ten waited no longer: who is moved is rarely late, and one bad moment does not end all moves.
    static constexpr double kShare = 0.9;
    /// After ten seconds a hold counts half. Fewer than kEnough say nothing, so a verdict is doubted after a
    /// minute or so without a move, and tried again.
    static constexpr double kKeptPerSecond = 0.933;
    static constexpr double kEnough = 4;

    /// Once a second.
    void tick(const Snapshot& snapshot, std::span<const WorkerStats* const> workers, HoldForecast& forecast);

  private:
    struct Recent {
        std::array<double, DurationBuckets::kCount> buckets{};
        std::array<uint64_t, DurationBuckets::kCount> seen{};
        double total = 0;
        void add(std::span<const WorkerStats* const> workers, ServiceId service, size_t version);
        [[nodiscard]] uint32_t expected_us() const;
    };
    /// As the workers' own: a service keeps its place, also while it is removed. When it comes back, what was
    /// counted before is not counted anew.
    std::map<ServiceId, std::array<Recent, kTlsVersions.size()>> recent_;
};

}  // namespace keyrail
