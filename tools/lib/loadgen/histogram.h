// SPDX-License-Identifier: Apache-2.0
// How long things took: a log-linear histogram (as HdrHistogram, which Debian has for Go and Java only). 64
// steps per power of two: a quantile is at most 1.6 % too high. Recording is two instructions and an
// increment.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace keyrail::loadgen {

class Histogram {
  public:
    void record(uint64_t value) {
        counts_[index(std::min(value, kMaxValue))]++;
        count_++;
        max_ = std::max(max_, value);
    }

    [[nodiscard]] uint64_t count() const { return count_; }
    [[nodiscard]] uint64_t max() const { return max_; }

    /// The value that a share `q` (0 to 1) of all values does not exceed; 0 when there are none.
    [[nodiscard]] uint64_t quantile(double q) const {
        const auto wanted =
            std::max<uint64_t>(1, static_cast<uint64_t>(q * static_cast<double>(count_) + 0.5));
        uint64_t seen = 0;
        for (size_t i = 0; i < kSteps; i++)
            if ((seen += counts_[i]) >= wanted) return std::min(highest(i), max_);
        return max_;
    }

  private:
    static constexpr unsigned kBits = 6;
    static constexpr uint64_t kMaxValue = (uint64_t{1} << 40) - 1;  // in ns: 18 minutes
    static constexpr size_t kSteps = (40 - kBits + 1) << kBits;

    /// Values below 2^7 have a step each; above, a step holds all that agree in their first seven bits.
    static constexpr unsigned shift(uint64_t value) {
        const auto width = static_cast<unsigned>(std::bit_width(value));
        return width > kBits + 1 ? width - kBits - 1 : 0;
    }
    static constexpr size_t index(uint64_t value) {
        return (size_t{shift(value)} << kBits) + (value >> shift(value));
    }
    static constexpr uint64_t highest(size_t index) {
        if (index >> (kBits + 1) == 0) return index;
        const size_t shift = (index >> kBits) - 1;
        return ((index - (shift << kBits) + 1) << shift) - 1;
    }

    std::array<uint64_t, kSteps> counts_{};
    uint64_t count_ = 0, max_ = 0;
};

}  // namespace keyrail::loadgen
