// SPDX-License-Identifier: Apache-2.0
// CookieMacs by AVX2: two times four SipHashes side by side. The functions alone have AVX2, not the file:
// what it shares with others (inline functions of headers) stays within the baseline.
#include <immintrin.h>

#include "dataplane/cookie/cookie_macs.h"

#define KEYRAIL_AVX2 [[gnu::target("avx2")]]

namespace keyrail {
namespace {

using Four = __m256i;  // words of four messages

template <int kBits>
KEYRAIL_AVX2 inline Four rotate_left(Four x) {
    return _mm256_or_si256(_mm256_slli_epi64(x, kBits), _mm256_srli_epi64(x, 64 - kBits));
}
KEYRAIL_AVX2 inline Four swap_halves(Four x) { return _mm256_shuffle_epi32(x, 0b10'11'00'01); }
KEYRAIL_AVX2 inline Four load(const uint64_t* words) {
    return _mm256_load_si256(reinterpret_cast<const Four*>(words));
}
KEYRAIL_AVX2 inline Four constant(uint64_t word) { return _mm256_set1_epi64x(static_cast<long long>(word)); }

/// kr_sip of cookie.h, four times side by side.
struct FourSips {
    Four v0, v1, v2, v3;
};

KEYRAIL_AVX2 inline FourSips start(Four k0, Four k1) {
    return {_mm256_xor_si256(constant(KR_SIP_V0), k0), _mm256_xor_si256(constant(KR_SIP_V1), k1),
            _mm256_xor_si256(constant(KR_SIP_V2), k0), _mm256_xor_si256(constant(KR_SIP_V3), k1)};
}

KEYRAIL_AVX2 inline void round(FourSips& s) {
    s.v0 = _mm256_add_epi64(s.v0, s.v1);
    s.v1 = _mm256_xor_si256(rotate_left<13>(s.v1), s.v0);
    s.v0 = swap_halves(s.v0);
    s.v2 = _mm256_add_epi64(s.v2, s.v3);
    s.v3 = _mm256_xor_si256(rotate_left<16>(s.v3), s.v2);
    s.v0 = _mm256_add_epi64(s.v0, s.v3);
    s.v3 = _mm256_xor_si256(rotate_left<21>(s.v3), s.v0);
    s.v2 = _mm256_add_epi64(s.v2, s.v1);
    s.v1 = _mm256_xor_si256(rotate_left<17>(s.v1), s.v2);
    s.v2 = swap_halves(s.v2);
}

KEYRAIL_AVX2 inline void take(FourSips& s, Four word) {
    s.v3 = _mm256_xor_si256(s.v3, word);
    round(s);
    round(s);
    s.v0 = _mm256_xor_si256(s.v0, word);
}

KEYRAIL_AVX2 inline Four finish(FourSips& s) {
    s.v2 = _mm256_xor_si256(s.v2, constant(0xff));
    for (int i = 0; i < 4; i++) round(s);
    return _mm256_xor_si256(_mm256_xor_si256(s.v0, s.v1), _mm256_xor_si256(s.v2, s.v3));
}

/// Each message's own key: keys[1] where the option byte says so.
KEYRAIL_AVX2 inline FourSips start(Four last_word, std::span<const kr_cookie_key, 2> keys) {
    const Four bit = constant(1ULL << KR_COOKIE_KEY_SHIFT);
    const Four second = _mm256_cmpeq_epi64(_mm256_and_si256(last_word, bit), bit);
    return start(_mm256_blendv_epi8(constant(keys[0].k0), constant(keys[1].k0), second),
                 _mm256_blendv_epi8(constant(keys[0].k1), constant(keys[1].k1), second));
}

}  // namespace

KEYRAIL_AVX2 void CookieMacs::make_by_two_fours(std::span<const kr_cookie_key, 2> keys) {
    constexpr size_t kHalf = 4, kEight = 8;
    for (size_t i = 0; i < count_; i += kEight) {  // kMax is a multiple: beyond the last are stale words
        FourSips a = start(load(&words_[5][i]), keys), b = start(load(&words_[5][i + kHalf]), keys);
        for (const Lanes& word : words_) {
            take(a, load(&word[i]));
            take(b, load(&word[i + kHalf]));
        }
        _mm256_store_si256(reinterpret_cast<Four*>(&macs_[i]), finish(a));
        _mm256_store_si256(reinterpret_cast<Four*>(&macs_[i + kHalf]), finish(b));
    }
}

}  // namespace keyrail
