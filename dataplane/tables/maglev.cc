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

}  // namespace

Maglev::Maglev(std::span<const BladeId> blades) {
    if (blades.empty()) return;
    std::vector<BladeId> ids(blades.begin(), blades.end());
    std::ranges::sort(ids);  // the ring must not depend on the order in the config
    std::vector<Permutation> permutations(ids.begin(), ids.end());
    ring_.assign(kSize, BladeId{});
    for (uint32_t filled = 0; filled < kSize;) {
        for (size_t i = 0; i < ids.size() && filled < kSize; i++) {
            uint32_t at = permutations[i].take();
            while (ring_[at] != 0) at = permutations[i].take();
            ring_[at] = ids[i];
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
