// SPDX-License-Identifier: Apache-2.0
// Consistent hashing after "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016,
// section 3.4): each blade fills the ring by its own permutation, so that shares are even and a blade that
// leaves disturbs almost only its own entries.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/common/ids.h"

namespace keyrail {

class Maglev {
  public:
    static constexpr uint32_t kSize = 16381;  // prime; 100 blades stay within 2 % of an even share

    Maglev() = default;
    /// Blade ids; order does not matter. An empty span gives an empty ring.
    explicit Maglev(std::span<const BladeId> blades) : Maglev(blades, {}) {}
    /// Of their part each gets as its weight says, beside the heaviest. No weights: all are the same.
    Maglev(std::span<const BladeId> blades, std::span<const uint8_t> weights);

    [[nodiscard]] bool empty() const { return ring_.empty(); }
    /// The blade for a 64-bit hash; the ring must not be empty.
    [[nodiscard]] BladeId at(uint64_t hash) const { return ring_[reduce(hash)]; }
    /// A second candidate for the same hash: another blade where the ring has more than one.
    [[nodiscard]] BladeId second(uint64_t hash) const;

  private:
    static uint32_t reduce(uint64_t hash) {  // Lemire: multiply-shift instead of a division
        return static_cast<uint32_t>((static_cast<unsigned __int128>(hash) * kSize) >> 64);
    }
    std::vector<BladeId> ring_;
};

}  // namespace keyrail
