// SPDX-License-Identifier: Apache-2.0
// A histogram of durations in bounded memory: 16 buckets per power of two, so quantiles are within about 6 %.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace keyrail {

/// Microseconds to buckets and back. What is longer than 33 s counts as 33 s.
struct DurationBuckets {
    static constexpr unsigned kBits = 4, kSteps = 1u << kBits, kHighestPower = 24;
    static constexpr size_t kCount = size_t{kHighestPower - kBits + 2} * kSteps;

    /// Below 16 the value itself; above, its power of two and the four bits after the leading one.
    static constexpr size_t of(uint64_t us) {
        if (us < kSteps) return us;
        if (us >> (kHighestPower + 1) != 0) return kCount - 1;
        const auto power = static_cast<unsigned>(std::bit_width(us)) - 1;
        const auto step = static_cast<unsigned>(us >> (power - kBits)) & (kSteps - 1);
        return size_t{power - kBits + 1} * kSteps + step;
    }
    static constexpr uint64_t highest(size_t bucket) {
        if (bucket < kSteps) return bucket;
        const unsigned shift = static_cast<unsigned>(bucket / kSteps) - 1;
        return ((bucket % kSteps + kSteps + 1) << shift) - 1;
    }

    /// The duration that `share` (0..1) of `total` do not exceed; `count(bucket)` of them are in a bucket. 0
    /// when there are none.
    template <typename Count, typename Number>
    static uint64_t quantile(double share, Number total, Count count) {
        const auto rank = static_cast<Number>(share * static_cast<double>(total));
        Number seen{};
        uint64_t found = 0;
        for (size_t i = 0; i < kCount; i++) {
            if (count(i) <= 0) continue;
            seen += count(i);
            found = highest(i);
            if (seen > rank) break;
        }
        return found;
    }
};

/// Of one thread.
class Histogram {
  public:
    void add(std::chrono::microseconds duration) {
        const auto us = static_cast<uint64_t>(duration.count() < 0 ? 0 : duration.count());
        add_to(DurationBuckets::of(us), 1);
        sum_us_ += us;
    }
    /// What somebody else counted, who knows their sum.
    void add_to(size_t bucket, uint64_t count) {
        if (bucket >= DurationBuckets::kCount) return;
        buckets_[bucket] += count;
        count_ += count;
    }
    [[nodiscard]] uint64_t count() const { return count_; }
    [[nodiscard]] uint64_t in(size_t bucket) const { return buckets_[bucket]; }
    /// Of those that came by add().
    [[nodiscard]] uint64_t sum_us() const { return sum_us_; }

    /// The duration that `share` (0..1) of all do not exceed; 0 when there are none.
    [[nodiscard]] std::chrono::microseconds quantile(double share) const {
        return std::chrono::microseconds(
            DurationBuckets::quantile(share, count_, [this](size_t i) { return buckets_[i]; }));
    }

  private:
    std::array<uint64_t, DurationBuckets::kCount> buckets_{};
    uint64_t count_ = 0, sum_us_ = 0;
};

}  // namespace keyrail
