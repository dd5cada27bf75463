// SPDX-License-Identifier: Apache-2.0
// A histogram of durations in bounded memory: 16 buckets per power of two, so quantiles are within about 6 %.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace keyrail {

class Histogram {
  public:
    void add(std::chrono::microseconds duration) {
        buckets_[bucket(static_cast<uint64_t>(duration.count() < 0 ? 0 : duration.count()))]++;
        count_++;
    }
    [[nodiscard]] uint64_t count() const { return count_; }

    /// The duration that `share` (0..1) of all do not exceed; 0 when there are none.
    [[nodiscard]] std::chrono::microseconds quantile(double share) const {
        const auto rank = static_cast<uint64_t>(share * static_cast<double>(count_));
        uint64_t seen = 0;
        for (size_t i = 0; i < buckets_.size(); i++) {
            seen += buckets_[i];
            if (buckets_[i] != 0 && (seen > rank || seen == count_))
                return std::chrono::microseconds(highest(i));
        }
        return std::chrono::microseconds(0);
    }

  private:
    static constexpr unsigned kBits = 4, kSteps = 1u << kBits;

    /// Below 16 the value itself; above, its power of two and the four bits after the leading one.
    static constexpr size_t bucket(uint64_t value) {
        if (value < kSteps) return value;
        const auto power = static_cast<unsigned>(std::bit_width(value)) - 1;
        const auto step = static_cast<unsigned>(value >> (power - kBits)) & (kSteps - 1);
        return size_t{power - kBits + 1} * kSteps + step;
    }
    static constexpr uint64_t highest(size_t bucket) {
        if (bucket < kSteps) return bucket;
        const unsigned shift = static_cast<unsigned>(bucket / kSteps) - 1;
        return ((bucket % kSteps + kSteps + 1) << shift) - 1;
    }

    std::array<uint64_t, size_t{64 - kBits + 1} * kSteps> buckets_{};
    uint64_t count_ = 0;
};

}  // namespace keyrail
