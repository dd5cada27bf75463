// SPDX-License-Identifier: Apache-2.0
// The MACs of all SYN cookies that a burst makes or checks, eight at a time where the CPU has AVX2 or
// AVX-512: a SipHash alone waits for itself, eight together do not (306 instructions a MAC become 98 with
// AVX2, and 42 with AVX-512, which rotates in one). All messages of IPv4 begin with a word of zero: what
// SipHash is behind that depends on the key alone, and is made once for all of them (two of 16 rounds).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/common/cookie.h"

namespace keyrail {

class CookieMacs {
  public:
    static constexpr size_t kMax = 64;  // a burst

    void clear() { count_ = 0; }
    /// Which one it is. `options`: the cookie's option byte, which names the key, too. At most kMax.
    uint16_t add(const kr_cookie_tuple& tuple, uint8_t options, uint16_t period) {
        uint64_t* lane = &words_[0][count_];  // and kMax words on, the next word of the same message
        lane[0 * kMax] = tuple.word[0];
        lane[1 * kMax] = tuple.word[1];
        lane[2 * kMax] = tuple.word[2];
        lane[3 * kMax] = tuple.word[3];
        lane[4 * kMax] = tuple.word[4];
        lane[5 * kMax] = KR_COOKIE_LAST_WORD(options, period);
        return count_++;
    }
    /// Makes all that were added, by keys in order of their id.
    void make(std::span<const kr_cookie_key, 2> keys);
    /// Like make(), which takes the fastest way that this CPU has. For tests.
    enum class Way : uint8_t { one_by_one, two_fours, eight };
    static Way fastest();
    void make(std::span<const kr_cookie_key, 2> keys, Way way);
    [[nodiscard]] uint64_t operator[](uint16_t index) const { return macs_[index]; }

  private:
    using Lanes = std::array<uint64_t, kMax>;
    /// What SipHash is before the first word of a message, and behind one of zero. By key id.
    struct Beginnings {
        std::array<kr_sip, 2> none, zero;
        explicit Beginnings(std::span<const kr_cookie_key, 2> keys)
            : none{of(keys[0]), of(keys[1])}, zero(none) {
            for (kr_sip& sip : zero) {  // a word of zero changes nothing but by its two rounds
                kr_sip_round(&sip);
                kr_sip_round(&sip);
            }
        }
        static kr_sip of(const kr_cookie_key& key) {
            return {KR_SIP_V0 ^ key.k0, KR_SIP_V1 ^ key.k1, KR_SIP_V2 ^ key.k0, KR_SIP_V3 ^ key.k1};
        }
    };
    void make_one_by_one(std::span<const kr_cookie_key, 2> keys);
    void make_by_two_fours(std::span<const kr_cookie_key, 2> keys);  // needs AVX2
    void make_by_eight(std::span<const kr_cookie_key, 2> keys);      // needs AVX-512 F

    uint16_t count_ = 0;
    alignas(64) std::array<Lanes, 6> words_;  // of the message
    alignas(64) Lanes macs_;
};

}  // namespace keyrail
