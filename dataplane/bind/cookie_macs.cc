// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/cookie_macs.h"

namespace keyrail {

void CookieMacs::make_one_by_one(std::span<const kr_cookie_key, 2> keys) {
    for (size_t i = 0; i < count_; i++) {
        kr_cookie_tuple tuple;
        for (size_t w = 0; w < 5; w++) tuple.word[w] = words_[w][i];
        const auto options = static_cast<uint8_t>(words_[5][i]);
        macs_[i] = kr_cookie_mac(&tuple, options, &keys[options >> KR_COOKIE_KEY_SHIFT & 1]);
    }
}

void CookieMacs::make(std::span<const kr_cookie_key, 2> keys) {
    static const bool by_eight = __builtin_cpu_supports("avx2");
    by_eight ? make_by_eight(keys) : make_one_by_one(keys);
}

}  // namespace keyrail
