// SPDX-License-Identifier: Apache-2.0
// The MACs of all SYN cookies that a burst makes or checks, eight at a time where the CPU has AVX2: a SipHash
// alone waits for itself, eight together do not (306 instructions a MAC become 98, and wait less).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "control/accept/cookie.h"

namespace keyrail {

class CookieMacs {
  public:
    static constexpr size_t kMax = 64;  // a burst

    void clear() { count_ = 0; }
    /// Which one it is. `options`: the cookie's option byte, which names the key, too. At most kMax.
    uint16_t add(const kr_cookie_tuple& tuple, uint8_t options) {
        for (size_t i = 0; i < 5; i++) words_[i][count_] = tuple.word[i];
        words_[5][count_] = KR_COOKIE_LAST_WORD(options);
        return count_++;
    }
    /// Makes all that were added, by keys in order of their id.
    void make(std::span<const kr_cookie_key, 2> keys);
    [[nodiscard]] uint64_t operator[](uint16_t index) const { return macs_[index]; }

  private:
    using Lanes = std::array<uint64_t, kMax>;
    void make_one_by_one(std::span<const kr_cookie_key, 2> keys);
    void make_by_eight(std::span<const kr_cookie_key, 2> keys);  // needs AVX2

    uint16_t count_ = 0;
    alignas(32) std::array<Lanes, 6> words_;  // of the message
    alignas(32) Lanes macs_;
};

}  // namespace keyrail
