// SPDX-License-Identifier: Apache-2.0
// Keyed hash of a connection: which worker owns it, where it is in the flow table, which blade Maglev gives.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/wire/headers.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {

/// The key is secret, so that nobody can aim at a bucket.
class FlowHash {
  public:
    explicit FlowHash(uint64_t key) : key_(key) {}

    /// Of the tuple. Of IPv4 it takes what says something, in two words that need not go through memory: 48
    /// instructions become 25.
    uint64_t operator()(const Headers& h) const {
        if (h.ipv6) return XXH3_64bits_withSeed(&h.tuple, sizeof h.tuple, key_);
        const std::array<uint64_t, 2> words = {
            uint64_t{load32_raw(&h.tuple.source[12])} << 32 | load32_raw(&h.tuple.destination[12]),
            uint64_t{h.tuple.source_port} << 16 | h.tuple.destination_port};
        return XXH3_64bits_withSeed(words.data(), sizeof words, key_);
    }

  private:
    uint64_t key_;
};

/// Which worker owns a flow: by bits of the hash that do not choose its bucket.
inline uint16_t owner_of(uint64_t hash, uint16_t workers) {
    return static_cast<uint16_t>((hash >> 48) % workers);
}

}  // namespace keyrail
