// SPDX-License-Identifier: Apache-2.0
// Session names as the hooks make them, for tests that have the name key.
#pragma once

#include <openssl/evp.h>

#include <cstring>
#include <span>

#include "dataplane/common/name_bytes.h"

namespace keyrail::testing {

inline NameBlock aes128(std::span<const uint8_t> key, const NameBlock& block) {
    NameBlock sealed{};
    int size = 0;
    EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex2(cipher, EVP_aes_128_ecb(), key.data(), nullptr, nullptr);
    EVP_CIPHER_CTX_set_padding(cipher, 0);
    EVP_EncryptUpdate(cipher, sealed.data(), &size, block.data(), kNameBlockSize);
    EVP_CIPHER_CTX_free(cipher);
    return sealed;
}

/// A name whose home is `blade`; the same number, the same name.
inline SessionName name_at(std::span<const uint8_t> key, uint8_t generation, uint16_t blade,
                           uint64_t number) {
    std::array<uint8_t, 8> random{};
    std::memcpy(random.data(), &number, sizeof number);
    const NameBlock block = aes128(key, make_name_block(BladeId(blade), random));
    const NameBlock tag = aes128(aes128(key, kTagKeySeed), block);
    SessionName name{};
    name[0] = generation;
    std::memcpy(&name[kNameBlockOffset], block.data(), block.size());
    std::memcpy(&name[kNameTagOffset], tag.data(), kNameTagSize);
    return name;
}

/// The same name with this bit of it changed, 0 to 255.
inline SessionName with_bit_changed(SessionName name, size_t bit) {
    name[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    return name;
}

/// As names were before they had tags: what followed the block was random.
inline SessionName without_tag(SessionName name, uint64_t random) {
    std::memset(&name[kNameTagOffset], 0x5a, kNameTagSize);
    std::memcpy(&name[kNameTagOffset], &random, sizeof random);
    return name;
}

}  // namespace keyrail::testing
