// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/session_name_maker.h"

#include <string.h>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

/// This thread's cipher, set up for one version of one store's control block.
struct NameCipher {
    NameCipher() = default;
    NameCipher(const NameCipher&) = delete;
    NameCipher& operator=(const NameCipher&) = delete;
    ~NameCipher() {
        if (context != nullptr) openssl().EVP_CIPHER_CTX_free(context);
    }

    EVP_CIPHER_CTX* context = nullptr;
    uint64_t store = 0;  // inode
    uint32_t version = 0;
    bool ready = false;
    uint16_t blade = 0;
    uint8_t generation = 0;

    bool set_up(const Store& from);
};

bool NameCipher::set_up(const Store& from) {
    const uint32_t now = from.control_version();
    if (version == now && store == from.inode()) return ready;
    ready = false;
    auto control = from.control();
    if (!control || !control->has_name_key) return false;
    const auto& ssl = openssl();
    if (context == nullptr) context = ssl.EVP_CIPHER_CTX_new();
    ready = context != nullptr &&
            ssl.EVP_EncryptInit_ex(context, ssl.EVP_aes_128_ecb(), nullptr, control->name_key.data(),
                                   nullptr) == 1 &&
            ssl.EVP_CIPHER_CTX_set_padding(context, 0) == 1;
    explicit_bzero(control->name_key.data(), control->name_key.size());
    blade = control->blade_id;
    generation = control->name_key_generation;
    version = now;
    store = from.inode();
    return ready;
}

thread_local NameCipher cipher;

}  // namespace

bool make_session_name(const Store& store, SessionName& name) {
    const auto& ssl = openssl();
    if (ssl.RAND_bytes(name.data(), static_cast<int>(name.size())) != 1) return false;
    if (!cipher.set_up(store)) return true;
    const std::span<const uint8_t, 8> random(&name[kNameBlockOffset + 8], 8);
    const NameBlock block = make_name_block(cipher.blade, random);
    int size = 0;
    name[0] = cipher.generation;
    return ssl.EVP_EncryptUpdate(cipher.context, &name[kNameBlockOffset], &size, block.data(),
                                 static_cast<int>(block.size())) == 1 &&
           size == static_cast<int>(block.size());
}

}  // namespace keyrail::hooks
