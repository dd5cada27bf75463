// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/session_names.h"

#include <string.h>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

enum class Direction { kDecrypt = 0, kEncrypt = 1 };

/// A name key for as long as it is used.
struct NameKey : StoreNameKey {
    uint16_t blade = 0;
    bool found = false;

    NameKey() = default;
    NameKey(const NameKey&) = delete;
    NameKey& operator=(const NameKey&) = delete;
    ~NameKey() { explicit_bzero(key.data(), key.size()); }
};

/// This thread's AES-128. One cipher for all keys: setting it up costs ten times what a key costs.
class BlockCipher {
  public:
    BlockCipher() = default;
    BlockCipher(const BlockCipher&) = delete;
    BlockCipher& operator=(const BlockCipher&) = delete;
    ~BlockCipher() {
        if (context_ != nullptr) openssl().EVP_CIPHER_CTX_free(context_);
    }

    bool run(Direction direction, const NameKey& key, NameBlock& block) {
        if (!set_up()) return false;
        const auto& ssl = openssl();
        int size = 0;
        const bool done = set_key(key.key.data(), direction) &&
                          ssl.EVP_CipherUpdate(context_, block.data(), &size, block.data(),
                                               static_cast<int>(block.size())) == 1 &&
                          size == static_cast<int>(block.size());
        constexpr std::array<uint8_t, kNameKeySize> kNothing{};
        return set_key(kNothing.data(), direction) && done;  // OpenSSL writes over the key it had
    }

  private:
    bool set_key(const uint8_t* key, Direction direction) {
        return openssl().EVP_CipherInit_ex(context_, nullptr, nullptr, key, nullptr,
                                           static_cast<int>(direction)) == 1;
    }
    bool set_up() {
        if (context_ != nullptr) return ready_;
        const auto& ssl = openssl();
        context_ = ssl.EVP_CIPHER_CTX_new();
        ready_ = context_ != nullptr &&
                 ssl.EVP_CipherInit_ex(context_, ssl.EVP_aes_128_ecb(), nullptr, nullptr, nullptr, 1) == 1 &&
                 ssl.EVP_CIPHER_CTX_set_padding(context_, 0) == 1;
        return ready_;
    }

    EVP_CIPHER_CTX* context_ = nullptr;
    bool ready_ = false;
};

thread_local BlockCipher cipher;

}  // namespace

bool make_random_name(SessionName& name) {
    return openssl().RAND_bytes(name.data(), static_cast<int>(name.size())) == 1;
}

bool make_session_name(const Store& store, SessionName& name) {
    if (!make_random_name(name)) return false;
    NameKey key;
    const bool read = store.control().read([&](const StoreControl& control) {
        key.found = control.name_key_count != 0;
        key.blade = control.blade_id;
        key.generation = control.name_keys[0].generation;
        key.key = control.name_keys[0].key;
    });
    if (!read || !key.found) return true;
    NameBlock block = make_name_block(key.blade, std::span<const uint8_t, 8>(&name[kNameBlockOffset + 8], 8));
    if (!cipher.run(Direction::kEncrypt, key, block)) return false;
    name[0] = key.generation;
    std::memcpy(&name[kNameBlockOffset], block.data(), block.size());
    return true;
}

bool is_ours(const Store& store, const SessionName& name) {
    NameKey key;
    const bool read = store.control().read([&](const StoreControl& control) {
        key.found = false;
        for (uint16_t i = 0; i < control.name_key_count && i < StoreControl::kMostNameKeys; i++) {
            if (control.name_keys[i].generation != name[0]) continue;
            key.found = true;
            key.key = control.name_keys[i].key;
            return;
        }
    });
    if (!read || !key.found) return false;
    NameBlock block;
    std::memcpy(block.data(), &name[kNameBlockOffset], block.size());
    return cipher.run(Direction::kDecrypt, key, block) && home_of(block).has_value();
}

}  // namespace keyrail::hooks
