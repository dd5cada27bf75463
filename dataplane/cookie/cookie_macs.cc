// SPDX-License-Identifier: Apache-2.0
#include "dataplane/cookie/cookie_macs.h"

namespace keyrail {

void CookieMacs::make_one_by_one(std::span<const kr_cookie_key, 2> keys) {
    for (size_t i = 0; i < count_; i++) {
        kr_cookie_tuple tuple;
        for (size_t w = 0; w < 5; w++) tuple.word[w] = words_[w][i];
        const auto options = static_cast<uint8_t>(words_[5][i]);
        const auto period = static_cast<uint16_t>(words_[5][i] >> 8);
        macs_[i] = kr_cookie_mac(&tuple, options, period, &keys[options >> KR_COOKIE_KEY_SHIFT & 1]);
    }
}

CookieMacs::Way CookieMacs::fastest() {
    if (__builtin_cpu_supports("avx512f")) return Way::eight;
    return __builtin_cpu_supports("avx2") ? Way::two_fours : Way::one_by_one;
}

void CookieMacs::make(std::span<const kr_cookie_key, 2> keys, Way way) {
    switch (way) {
        case Way::one_by_one:
            return make_one_by_one(keys);
        case Way::two_fours:
            return make_by_two_fours(keys);
        case Way::eight:
            return make_by_eight(keys);
    }
}

void CookieMacs::make(std::span<const kr_cookie_key, 2> keys) {
    static const Way way = fastest();
    make(keys, way);
}

}  // namespace keyrail
