// SPDX-License-Identifier: Apache-2.0
// CookieMacs by AVX-512: eight SipHashes side by side. The functions alone have it, not the file: what it
// shares with others (inline functions of headers) stays within the baseline.
#include <immintrin.h>

#include "dataplane/cookie/cookie_macs.h"

#define KEYRAIL_AVX512 [[gnu::target("avx512f")]]

namespace keyrail {
namespace {

using Eight = __m512i;  // words of eight messages

/// With a mask: GCC 12 warns of the undefined words that its _mm512_rol_epi64 passes on (bug 105593).
template <int kBits>
KEYRAIL_AVX512 inline Eight rotate_left(Eight x) {
    return _mm512_maskz_rol_epi64(0xff, x, kBits);
}
KEYRAIL_AVX512 inline Eight load(const uint64_t* words) { return _mm512_load_si512(words); }
KEYRAIL_AVX512 inline Eight constant(uint64_t word) {
    return _mm512_set1_epi64(static_cast<long long>(word));
}

/// kr_sip of cookie.h, eight times side by side.
struct EightSips {
    Eight v0, v1, v2, v3;
};

KEYRAIL_AVX512 inline Eight pick(uint64_t first, uint64_t second, __mmask8 is_second) {
    return _mm512_mask_blend_epi64(is_second, constant(first), constant(second));
}

/// Each message's own key: the second one where the option byte says so.
KEYRAIL_AVX512 inline EightSips start(Eight last_word, const std::array<kr_sip, 2>& by_key) {
    const __mmask8 second = _mm512_test_epi64_mask(last_word, constant(1ULL << KR_COOKIE_KEY_SHIFT));
    const kr_sip &a = by_key[0], &b = by_key[1];
    return {pick(a.v0, b.v0, second), pick(a.v1, b.v1, second), pick(a.v2, b.v2, second),
            pick(a.v3, b.v3, second)};
}

KEYRAIL_AVX512 inline void round(EightSips& s) {
    s.v0 = _mm512_add_epi64(s.v0, s.v1);
    s.v1 = _mm512_xor_si512(rotate_left<13>(s.v1), s.v0);
    s.v0 = rotate_left<32>(s.v0);
    s.v2 = _mm512_add_epi64(s.v2, s.v3);
    s.v3 = _mm512_xor_si512(rotate_left<16>(s.v3), s.v2);
    s.v0 = _mm512_add_epi64(s.v0, s.v3);
    s.v3 = _mm512_xor_si512(rotate_left<21>(s.v3), s.v0);
    s.v2 = _mm512_add_epi64(s.v2, s.v1);
    s.v1 = _mm512_xor_si512(rotate_left<17>(s.v1), s.v2);
    s.v2 = rotate_left<32>(s.v2);
}

KEYRAIL_AVX512 inline void take(EightSips& s, Eight word) {
    s.v3 = _mm512_xor_si512(s.v3, word);
    round(s);
    round(s);
    s.v0 = _mm512_xor_si512(s.v0, word);
}

KEYRAIL_AVX512 inline Eight finish(EightSips& s) {
    s.v2 = _mm512_xor_si512(s.v2, constant(0xff));
    for (int i = 0; i < 4; i++) round(s);
    return _mm512_xor_si512(_mm512_xor_si512(s.v0, s.v1), _mm512_xor_si512(s.v2, s.v3));
}

}  // namespace

KEYRAIL_AVX512 void CookieMacs::make_by_eight(std::span<const kr_cookie_key, 2> keys) {
    constexpr size_t kEight = 8;
    const Beginnings beginnings(keys);
    for (size_t i = 0; i < count_; i += kEight) {  // kMax is a multiple: beyond the last are stale words
        const Eight first = load(&words_[0][i]);
        const bool zero = _mm512_test_epi64_mask(first, first) == 0;
        EightSips sips = start(load(&words_[5][i]), zero ? beginnings.zero : beginnings.none);
        for (const Lanes& word : std::span(words_).subspan(zero ? 1 : 0)) take(sips, load(&word[i]));
        _mm512_store_si512(&macs_[i], finish(sips));
    }
}

}  // namespace keyrail
