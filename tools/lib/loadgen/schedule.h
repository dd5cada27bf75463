// SPDX-License-Identifier: Apache-2.0
// Open loop: when connections are meant to start, whatever became of those before them. Latency is counted
// from here, so that a stall of what is measured is seen by all who would have come meanwhile ("coordinated
// omission" is to leave those out).
#pragma once

#include <cmath>

namespace keyrail::loadgen {

/// `from` per second for `steady` seconds, then growing evenly to `to` per second over `ramp` seconds, then
/// that.
class Schedule {
  public:
    Schedule(double from, double to, double steady, double ramp)
        : from_(from), to_(to), steady_(steady), ramp_(ramp) {}

    /// Seconds after the beginning at which connection `n` is due; they count from 0.
    [[nodiscard]] double when(double n) const {
        if (n <= from_ * steady_) return n / from_;
        const double rest = n - from_ * steady_, growth = (to_ - from_) / ramp_;
        const double ramped = (from_ + to_) / 2 * ramp_;
        if (ramp_ <= 0 || rest >= ramped) return steady_ + ramp_ + (rest - ramped) / to_;
        if (std::abs(growth) < 1e-9) return steady_ + rest / from_;
        return steady_ + (std::sqrt(from_ * from_ + 2 * growth * rest) - from_) / growth;
    }

    [[nodiscard]] double rate(double seconds) const {
        if (seconds <= steady_ || ramp_ <= 0) return seconds <= steady_ ? from_ : to_;
        return from_ + (to_ - from_) * std::fmin(1, (seconds - steady_) / ramp_);
    }

  private:
    double from_, to_, steady_, ramp_;
};

}  // namespace keyrail::loadgen
