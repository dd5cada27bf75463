// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/maglev.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {
namespace {

/// A blade's preference list: position j is (offset + j * skip) mod size. Seeds only have to differ.
struct Permutation {
    uint32_t next, skip;
    explicit Permutation(BladeId blade)
        : next(static_cast<uint32_t>(XXH3_64bits_withSeed(&blade, sizeof blade, 1) % Maglev::kSize)),
          skip(static_cast<uint32_t>(XXH3_64bits_withSeed(&blade, sizeof blade, 2) % (Maglev::kSize - 1) +
                                     1)) {}
    uint32_t take() {
        const uint32_t at = next;
        next = (next + skip) % Maglev::kSize;
        return at;
    }
};

/// One that takes its turns.
struct Taker {
    BladeId blade;
    uint32_t weight;
    Permutation permutation;
    uint32_t saved = 0;

    Taker(BladeId id, uint32_t weighs) : blade(id), weight(weighs), permutation(id) {}
    /// Whose weight is half of the heaviest's has every second turn.
    bool has_turn(uint32_t heaviest) {
        saved += weight;
        if (saved < heaviest) return false;
        saved -= heaviest;
        return true;
    }
};

}  // namespace

Maglev::Maglev(std::span<const BladeId> blades, std::span<const uint8_t> weights) {
    std::vector<Taker> takers;
    uint32_t heaviest = 0;
    for (size_t i = 0; i < blades.size(); i++) {
        const uint32_t weight = i < weights.size() ? weights[i] : 1;
        if (weight > 0) takers.emplace_back(blades[i], weight);
        heaviest = std::max(heaviest, weight);
    }
    if (takers.empty()) return;
    std::ranges::sort(takers, {}, &Taker::blade);  // the ring must not depend on the order in the config
    ring_.assign(kSize, BladeId{});
    for (uint32_t filled = 0; filled < kSize;) {
        for (size_t i = 0; i < takers.size() && filled < kSize; i++) {
            if (!takers[i].has_turn(heaviest)) continue;
            uint32_t at = takers[i].permutation.take();
            while (ring_[at] != 0) at = takers[i].permutation.take();
            ring_[at] = takers[i].blade;
            filled++;
        }
    }
}

BladeId Maglev::second(uint64_t hash) const {
    const BladeId taken = at(hash);
    for (int i = 0; i < 16; i++) {
        hash = hash * 0x9e3779b97f4a7c15ull + 0x7f4a7c15;  // any full-period step will do
        if (at(hash) != taken) return at(hash);
    }
    return taken;
}

}  // namespace keyrail
