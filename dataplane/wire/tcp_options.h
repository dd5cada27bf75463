// SPDX-License-Identifier: Apache-2.0
// TCP options as they lie in headers: a walk over any of them, and the words that nearly all clients send,
// which are compared as a whole. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/wire/header_writer.h"

namespace keyrail {

// Kinds, RFC 9293 section 3.1 and RFC 7323.
enum OptionKind : uint8_t { kEnd = 0, kNop = 1, kMss = 2, kWscale = 3, kSackPermitted = 4, kTimestamp = 8 };
inline constexpr uint8_t kWscaleMax = 14;  // RFC 7323 section 2.3

inline constexpr uint32_t kPad = kNop << 8 | kNop, kSack = kSackPermitted << 8 | 2,
                          kTimestamps = kTimestamp << 8 | 10;                 // and two values behind it
inline constexpr uint32_t kTimestampsAlone = wire(kPad << 16 | kTimestamps);  // as in most clients' segments
inline constexpr uint32_t kSackAndTimestamps = wire(kSack << 16 | kTimestamps);
inline constexpr uint32_t kSackAlone = wire(kPad << 16 | kSack);
inline constexpr uint32_t kWscaleWord =
    kNop << 24 | kWscale << 16 | 3 << 8;                    // host order; and the shift count
inline constexpr uint32_t kMssWord = kMss << 24 | 4 << 16;  // host order; and the size

/// Calls `visit(kind, value)` for each option; stops at the first malformed one.
template <typename Visit>
void each_option(std::span<const uint8_t> options, Visit visit) {
    for (size_t i = 0; i < options.size() && options[i] != kEnd;) {
        if (options[i] == kNop) {
            i++;
            continue;
        }
        if (i + 1 >= options.size() || options[i + 1] < 2 || i + options[i + 1] > options.size()) return;
        visit(options[i], options.subspan(i + 2, options[i + 1] - size_t{2}));
        i += options[i + 1];
    }
}

}  // namespace keyrail
