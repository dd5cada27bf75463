// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/session_home.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace keyrail {
namespace {

constexpr int kDecrypt = 0, kEncrypt = 1;

}  // namespace

void NameOpener::Freed::operator()(evp_cipher_ctx_st* context) const { EVP_CIPHER_CTX_free(context); }

NameOpener::Cipher NameOpener::cipher(std::span<const uint8_t, kNameKeySize> key, int direction) {
    Cipher cipher(EVP_CIPHER_CTX_new());
    const bool good =
        cipher &&
        EVP_CipherInit_ex(cipher.get(), EVP_aes_128_ecb(), nullptr, key.data(), nullptr, direction) == 1 &&
        EVP_CIPHER_CTX_set_padding(cipher.get(), 0) == 1;
    return good ? std::move(cipher) : nullptr;
}

bool NameOpener::run(const Cipher& cipher, const uint8_t* in, NameBlock& out) {
    int size = 0;
    return cipher && EVP_CipherUpdate(cipher.get(), out.data(), &size, in, kNameBlockSize) == 1 &&
           size == static_cast<int>(out.size());
}

NameOpener::NameOpener(std::span<const uint8_t, kNameKeySize> key) : block_(cipher(key, kDecrypt)) {
    NameBlock tag_key{};
    if (run(cipher(key, kEncrypt), kTagKeySeed.data(), tag_key)) tag_ = cipher(tag_key, kEncrypt);
    OPENSSL_cleanse(tag_key.data(), tag_key.size());
}

std::optional<BladeId> NameOpener::home(const SessionName& name) const {
    const uint8_t* const block = &name[kNameBlockOffset];
    NameBlock sealed{}, opened{};
    if (!run(tag_, block, sealed) || !has_tag(name, sealed) || !run(block_, block, opened))
        return std::nullopt;
    return home_of(opened);
}

}  // namespace keyrail
