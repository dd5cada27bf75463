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

KEYRAIL_AVX2 inline Four pick(uint64_t first, uint64_t second, Four is_second) {
    return _mm256_blendv_epi8(constant(first), constant(second), is_second);
}

/// Each message's own key: the second one where the option byte says so.
KEYRAIL_AVX2 inline FourSips start(Four last_word, const std::array<kr_sip, 2>& by_key) {
    const Four bit = constant(1ULL << KR_COOKIE_KEY_SHIFT);
    const Four second = _mm256_cmpeq_epi64(_mm256_and_si256(last_word, bit), bit);
    const kr_sip &a = by_key[0], &b = by_key[1];
    return {pick(a.v0, b.v0, second), pick(a.v1, b.v1, second), pick(a.v2, b.v2, second),
            pick(a.v3, b.v3, second)};
}

}  // namespace

KEYRAIL_AVX2 void CookieMacs::make_by_two_fours(std::span<const kr_cookie_key, 2> keys) {
    constexpr size_t kHalf = 4, kEight = 8;
    const Beginnings beginnings(keys);
    for (size_t i = 0; i < count_; i += kEight) {  // kMax is a multiple: beyond the last are stale words
        const Four first = _mm256_or_si256(load(&words_[0][i]), load(&words_[0][i + kHalf]));
        const bool zero = _mm256_testz_si256(first, first) != 0;
        const auto& begun = zero ? beginnings.zero : beginnings.none;
        FourSips a = start(load(&words_[5][i]), begun), b = start(load(&words_[5][i + kHalf]), begun);
        for (const Lanes& word : std::span(words_).subspan(zero ? 1 : 0)) {
            take(a, load(&word[i]));
            take(b, load(&word[i + kHalf]));
        }
        _mm256_store_si256(reinterpret_cast<Four*>(&macs_[i]), finish(a));
        _mm256_store_si256(reinterpret_cast<Four*>(&macs_[i + kHalf]), finish(b));
    }
}

}  // namespace keyrail
