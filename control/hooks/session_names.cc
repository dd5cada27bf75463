// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/session_names.h"

#include <string.h>

#include "control/hooks/digest.h"
#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

/// A name key for as long as it is used.
struct NameKey : StoreNameKey {
    BladeId blade = 0;
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

    bool encrypt(const uint8_t* key, const NameBlock& in, NameBlock& out) {
        int size = 0;
        return set_up() && set_key(key) &&
               openssl().EVP_CipherUpdate(context_, out.data(), &size, in.data(),
                                          static_cast<int>(in.size())) == 1 &&
               size == static_cast<int>(out.size());
    }
    /// OpenSSL writes over the key that it had.
    bool forget_key() {
        constexpr std::array<uint8_t, kNameKeySize> kNothing{};
        return set_up() && set_key(kNothing.data());
    }

  private:
    bool set_key(const uint8_t* key) {
        return openssl().EVP_CipherInit_ex(context_, nullptr, nullptr, key, nullptr, kEncrypt) == 1;
    }
    bool set_up() {
        if (context_ != nullptr) return ready_;
        const auto& ssl = openssl();
        context_ = ssl.EVP_CIPHER_CTX_new();
        ready_ = context_ != nullptr &&
                 ssl.EVP_CipherInit_ex(context_, ssl.EVP_aes_128_ecb(), nullptr, nullptr, nullptr,
                                       kEncrypt) == 1 &&
                 ssl.EVP_CIPHER_CTX_set_padding(context_, 0) == 1;
        return ready_;
    }

    static constexpr int kEncrypt = 1;
    EVP_CIPHER_CTX* context_ = nullptr;
    bool ready_ = false;
};

thread_local BlockCipher cipher;

/// The tag of a block, and a byte more.
bool make_tag(const NameKey& key, const NameBlock& block, NameBlock& tag) {
    NameBlock tag_key{};
    const bool made =
        cipher.encrypt(key.key.data(), kTagKeySeed, tag_key) && cipher.encrypt(tag_key.data(), block, tag);
    explicit_bzero(tag_key.data(), tag_key.size());
    return cipher.forget_key() && made;
}

/// The key that made this name.
bool find_key(const Store& store, const SessionName& name, NameKey& key) {
    const bool read = store.control().read([&](const StoreControl& control) {
        key.found = false;
        for (uint16_t i = 0; i < control.name_key_count && i < StoreControl::kMaxNameKeys; i++) {
            if (control.name_keys[i].generation != name[0]) continue;
            key.found = true;
            key.key = control.name_keys[i].key;
            return;
        }
    });
    return read && key.found;
}

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
    const NameBlock plain =
        make_name_block(key.blade, std::span<const uint8_t, 8>(&name[kNameBlockOffset], 8));
    NameBlock block{}, tag{};
    const bool sealed = cipher.encrypt(key.key.data(), plain, block);
    if (!make_tag(key, block, tag) || !sealed) return false;
    name[0] = key.generation;
    std::memcpy(&name[kNameBlockOffset], block.data(), block.size());
    std::memcpy(&name[kNameTagOffset], tag.data(), kNameTagSize);
    return true;
}

bool has_name_key(const Store& store) {
    bool found = false;
    return store.control().read([&](const StoreControl& control) { found = control.name_key_count != 0; }) &&
           found;
}

bool is_ours(const Store& store, const SessionName& name) {
    NameKey key;
    if (!find_key(store, name, key)) return false;
    NameBlock block{}, tag{};
    std::memcpy(block.data(), &name[kNameBlockOffset], block.size());
    return make_tag(key, block, tag) && has_tag(name, tag);
}

bool derive_secret(const Store& store, const SessionName& name, std::span<const uint8_t> shared,
                   std::array<uint8_t, 32>& secret) {
    constexpr size_t kMaxShared = 64;
    // Each has its place, so no two inputs are the same bytes.
    static constexpr NameBlock kLabel{'K', 'e', 'y', 'r', 'a', 'i', 'l', ' ',
                                      't', 'i', 'c', 'k', 'e', 't', ' ', '1'};
    struct {
        NameBlock label = kLabel;
        std::array<uint8_t, kNameKeySize> key{};
        SessionName name{};
        std::array<uint8_t, kMaxShared> shared{};
    } input;
    NameKey key;
    if (shared.size() > kMaxShared || !find_key(store, name, key)) return false;
    input.key = key.key;
    input.name = name;
    std::memcpy(input.shared.data(), shared.data(), shared.size());
    static_assert(sizeof input ==
                  sizeof input.label + sizeof input.key + sizeof input.name + sizeof input.shared);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&input);
    secret = sha256_of(std::span(bytes, sizeof input));
    explicit_bzero(&input, sizeof input);
    return sha256() != nullptr;
}

}  // namespace keyrail::hooks
