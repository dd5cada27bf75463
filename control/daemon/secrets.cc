// SPDX-License-Identifier: Apache-2.0
// Secrets: made once, kept sealed. On the disk they are a chassis.Keys message, the form in which blades get
// them.
#include "control/daemon/secrets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>

#include "chassis.pb.h"
#include "control/daemon/sealing.h"
#include "control/protocol/channel.h"
#include "control/protocol/file.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPurpose = "keyrail keys 1";
constexpr size_t kMaxSealed = 65536;

fs::path sealed_file(const fs::path& dir) { return dir / "keys.sealed"; }
fs::path key_file(const fs::path& dir) { return dir / "seal.key"; }

Result<SecretKey> random_key() {
    SecretKey key;
    if (RAND_priv_bytes(key.bytes.data(), SecretKey::kSize) != 1)
        return fail("no random bytes from the system");
    return key;
}

Result<SecretKey> key_from(const std::string& bytes) {
    if (bytes.size() != SecretKey::kSize) return fail("a key of {} bytes in it", bytes.size());
    SecretKey key;
    std::ranges::copy(bytes, key.bytes.begin());
    return key;
}

std::string bytes_of(const SecretKey& key) { return {key.bytes.begin(), key.bytes.end()}; }

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

Result<Secrets> Secrets::create() {
    const auto cookie = random_key(), name = random_key();
    if (!cookie || !name) return fail("no random bytes from the system");
    Secrets secrets;
    secrets.cookie_keys_.push_back({0, *cookie, true});
    secrets.name_keys_.push_back({1, *name, true});
    return secrets;
}

Result<Secrets> Secrets::load_or_create(const fs::path& dir) {
    std::error_code error;
    if (fs::exists(sealed_file(dir), error)) {
        auto secrets = unseal(dir);
        if (!secrets)
            return fail("{}; or remove {} to make new keys: all sessions are then forgotten",
                        secrets.error().message, sealed_file(dir).string());
        return secrets;
    }
    auto secrets = create();
    if (!secrets) return secrets;
    if (auto sealed = secrets->seal(dir); !sealed) return tl::make_unexpected(sealed.error());
    return secrets;
}

Result<void> Secrets::seal(const fs::path& dir) const {
    const auto key = SealKey::load(key_file(dir), true);
    if (!key) return tl::make_unexpected(key.error());
    chassis::Envelope envelope;
    chassis::Keys& keys = *envelope.mutable_keys();
    for (const CookieKey& one : cookie_keys_) {
        chassis::CookieKey& out = *keys.add_cookie_keys();
        out.set_key_id(one.key_id);
        out.set_key(bytes_of(one.key));
        out.set_current(one.current);
    }
    for (const NameKey& one : name_keys_) {
        chassis::NameKey& out = *keys.add_name_keys();
        out.set_generation(one.generation);
        out.set_key(bytes_of(one.key));
        out.set_current(one.current);
    }
    std::string plain = keys.SerializeAsString();
    wipe(envelope);
    const auto sealed = key->seal(plain, kPurpose);
    OPENSSL_cleanse(plain.data(), plain.size());
    if (!sealed) return tl::make_unexpected(sealed.error());
    return replace_file(sealed_file(dir), *sealed, 0600);
}

Result<Secrets> Secrets::unseal(const fs::path& dir) {
    const auto damaged = [&](const std::string& why) {
        return fail("{}: {}", sealed_file(dir).string(), why);
    };
    const auto key = SealKey::load(key_file(dir), false);
    if (!key) return tl::make_unexpected(key.error());
    const auto sealed = read_file(sealed_file(dir), kMaxSealed);
    if (!sealed) return tl::make_unexpected(sealed.error());
    auto plain = key->unseal(*sealed, kPurpose);
    if (!plain) return damaged(plain.error().message);

    chassis::Envelope envelope;
    const bool parsed = envelope.mutable_keys()->ParseFromString(*plain);
    OPENSSL_cleanse(plain->data(), plain->size());
    Secrets secrets;
    Result<void> result;
    for (const auto& one : envelope.keys().cookie_keys())
        if (auto secret = key_from(one.key()))
            secrets.cookie_keys_.push_back({one.key_id(), *secret, one.current()});
        else
            result = damaged(secret.error().message);
    for (const auto& one : envelope.keys().name_keys())
        if (auto secret = key_from(one.key()))
            secrets.name_keys_.push_back({one.generation(), *secret, one.current()});
        else
            result = damaged(secret.error().message);
    wipe(envelope);
    if (!parsed || secrets.cookie_keys_.empty() || secrets.name_keys_.empty())
        return damaged("there are no keys in it");
    if (!result) return tl::make_unexpected(result.error());
    return secrets;
}

std::optional<uint16_t> Secrets::home(const SessionName& name) const {
    const auto key = std::ranges::find(name_keys_, uint32_t{name[0]}, &NameKey::generation);
    if (key == name_keys_.end()) return std::nullopt;
    const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> cipher(EVP_CIPHER_CTX_new(),
                                                                                 &EVP_CIPHER_CTX_free);
    std::array<uint8_t, 2 * kNameBlockSize> block{};
    int size = 0;
    const bool good =
        cipher &&
        EVP_DecryptInit_ex2(cipher.get(), EVP_aes_128_ecb(), key->key.bytes.data(), nullptr, nullptr) == 1 &&
        EVP_CIPHER_CTX_set_padding(cipher.get(), 0) == 1 &&
        EVP_DecryptUpdate(cipher.get(), block.data(), &size, &name[kNameBlockOffset], kNameBlockSize) == 1;
    if (!good) return std::nullopt;
    return home_of(std::span<const uint8_t, kNameBlockSize>(block.data(), kNameBlockSize));
}

}  // namespace keyrail
