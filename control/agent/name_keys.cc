// SPDX-License-Identifier: Apache-2.0
#include "control/agent/name_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

namespace keyrail {

void NameKeys::clear() {
    for (auto& [generation, key] : keys_) OPENSSL_cleanse(key.data(), key.size());
    keys_.clear();
}

std::optional<uint16_t> NameKeys::home(const SessionName& name) const {
    const auto key = keys_.find(name[0]);
    if (key == keys_.end()) return std::nullopt;
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> cipher(EVP_CIPHER_CTX_new(),
                                                                                 &EVP_CIPHER_CTX_free);
    NameBlock block{};
    int size = 0;
    const bool done =
        cipher &&
        EVP_DecryptInit_ex(cipher.get(), EVP_aes_128_ecb(), nullptr, key->second.data(), nullptr) == 1 &&
        EVP_CIPHER_CTX_set_padding(cipher.get(), 0) == 1 &&
        EVP_DecryptUpdate(cipher.get(), block.data(), &size, &name[kNameBlockOffset], kNameBlockSize) == 1 &&
        size == static_cast<int>(block.size());
    return done ? home_of(block) : std::nullopt;
}

}  // namespace keyrail
