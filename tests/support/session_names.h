// SPDX-License-Identifier: Apache-2.0
// Session names as the hooks make them, for tests that have the name key.
#pragma once

#include <openssl/evp.h>

#include <cstring>
#include <span>

#include "dataplane/common/name_bytes.h"

namespace keyrail::testing {

/// A name whose home is `blade`; the same number, the same name.
inline SessionName name_at(std::span<const uint8_t> key, uint8_t generation, uint16_t blade,
                           uint64_t number) {
    SessionName name{};
    name[0] = generation;
    std::array<uint8_t, 8> random{};
    std::memcpy(random.data(), &number, sizeof number);
    const NameBlock block = make_name_block(blade, random);
    EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
    int size = 0;
    EVP_EncryptInit_ex2(cipher, EVP_aes_128_ecb(), key.data(), nullptr, nullptr);
    EVP_CIPHER_CTX_set_padding(cipher, 0);
    EVP_EncryptUpdate(cipher, &name[kNameBlockOffset], &size, block.data(), kNameBlockSize);
    EVP_CIPHER_CTX_free(cipher);
    std::memcpy(&name[kNameBlockOffset + kNameBlockSize], &number, sizeof number);
    return name;
}

}  // namespace keyrail::testing
