// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/session_home.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <memory>

namespace keyrail {
namespace {

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;
constexpr int kDecrypt = 0, kEncrypt = 1;

/// One block of AES-128. `type` may be nullptr after the first time: as before.
bool run(const Cipher& cipher, const EVP_CIPHER* type, int direction, const uint8_t* key, const uint8_t* in,
         NameBlock& out) {
    int size = 0;
    return EVP_CipherInit_ex(cipher.get(), type, nullptr, key, nullptr, direction) == 1 &&
           EVP_CIPHER_CTX_set_padding(cipher.get(), 0) == 1 &&
           EVP_CipherUpdate(cipher.get(), out.data(), &size, in, kNameBlockSize) == 1 &&
           size == static_cast<int>(out.size());
}

}  // namespace

std::optional<BladeId> home_of(const SessionName& name, std::span<const uint8_t, kNameKeySize> key) {
    const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);  // wipes its keys when it goes
    if (!cipher) return std::nullopt;
    const uint8_t* const block = &name[kNameBlockOffset];
    NameBlock tag_key{}, sealed{}, opened{};
    const bool tagged = run(cipher, EVP_aes_128_ecb(), kEncrypt, key.data(), kTagKeySeed.data(), tag_key) &&
                        run(cipher, nullptr, kEncrypt, tag_key.data(), block, sealed) &&
                        has_tag(name, sealed);
    OPENSSL_cleanse(tag_key.data(), tag_key.size());
    if (!tagged || !run(cipher, nullptr, kDecrypt, key.data(), block, opened)) return std::nullopt;
    return home_of(opened);
}

}  // namespace keyrail
