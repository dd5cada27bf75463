// SPDX-License-Identifier: Apache-2.0
// Secrets: made once, kept sealed. On the disk they are a chassis.Keys message, the form in which blades get
// them.
#include "control/daemon/keys/secrets.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "chassis.pb.h"
#include "control/daemon/keys/sealing.h"
#include "control/protocol/channel.h"
#include "control/protocol/file.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPurpose = "keyrail keys 1";
constexpr size_t kMaxSealed = 65536;
constexpr uint32_t kNameKeyIds = 256;

fs::path sealed_file(const fs::path& dir) { return dir / "keys.sealed"; }

int64_t unix_s(Secrets::Time time) { return std::chrono::system_clock::to_time_t(time); }

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

template <typename Message>
void fill(Message& out, const Secrets::Key& key) {
    out.set_key(key.key.bytes.data(), key.key.bytes.size());
    out.set_current(key.current);
    out.set_made_s(static_cast<uint64_t>(key.made_s));
    out.set_retires_s(static_cast<uint64_t>(key.retires_s));
}

template <typename Message>
Secrets::Key key_of(uint32_t id, const SecretKey& secret, const Message& message) {
    return {id, secret, message.current(), static_cast<int64_t>(message.made_s()),
            static_cast<int64_t>(message.retires_s())};
}

}  // namespace

SecretKey::~SecretKey() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

Result<Secrets> Secrets::create() {
    const auto cookie = random_key(), name = random_key();
    if (!cookie || !name) return fail("no random bytes from the system");
    Secrets secrets;
    const int64_t now = unix_s(std::chrono::system_clock::now());
    secrets.cookie_keys_.push_back({0, *cookie, true, now, 0});
    secrets.name_keys_.push_back({1, *name, true, now, 0});
    secrets.make_openers();
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
    secrets->dir_ = dir;
    if (auto sealed = secrets->seal(); !sealed) return tl::make_unexpected(sealed.error());
    return secrets;
}

Result<void> Secrets::seal() const {
    if (dir_.empty()) return {};
    const auto key = SealKey::of(dir_, true);
    if (!key) return tl::make_unexpected(key.error());
    chassis::Envelope envelope;
    chassis::Keys& keys = *envelope.mutable_keys();
    for (const Key& one : cookie_keys_) {
        chassis::CookieKey& out = *keys.add_cookie_keys();
        out.set_key_id(one.id);
        fill(out, one);
    }
    for (const Key& one : name_keys_) {
        chassis::NameKey& out = *keys.add_name_keys();
        out.set_generation(one.id);
        fill(out, one);
    }
    std::string plain = keys.SerializeAsString();
    wipe(envelope);
    const auto sealed = key->seal(plain, kPurpose);
    OPENSSL_cleanse(plain.data(), plain.size());
    if (!sealed) return tl::make_unexpected(sealed.error());
    return replace_file(sealed_file(dir_), *sealed, 0600);
}

Result<Secrets> Secrets::unseal(const fs::path& dir) {
    const auto damaged = [&](const std::string& why) {
        return fail("{}: {}", sealed_file(dir).string(), why);
    };
    const auto key = SealKey::of(dir, false);
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
            secrets.cookie_keys_.push_back(key_of(one.key_id(), *secret, one));
        else
            result = damaged(secret.error().message);
    for (const auto& one : envelope.keys().name_keys())
        if (auto secret = key_from(one.key()))
            secrets.name_keys_.push_back(key_of(one.generation(), *secret, one));
        else
            result = damaged(secret.error().message);
    wipe(envelope);
    if (!parsed || secrets.cookie_keys_.empty() || secrets.name_keys_.empty())
        return damaged("there are no keys in it");
    if (!result) return tl::make_unexpected(result.error());
    secrets.dir_ = dir;
    secrets.make_openers();
    return secrets;
}

void Secrets::make_openers() {
    openers_.clear();
    for (const Key& one : name_keys_) openers_.emplace(one.id, NameOpener(one.key.bytes));
}

Result<void> Secrets::become(Keys cookie_keys, Keys name_keys) {
    std::swap(cookie_keys, cookie_keys_);
    std::swap(name_keys, name_keys_);
    auto sealed = seal();
    if (!sealed) {
        cookie_keys_ = std::move(cookie_keys);
        name_keys_ = std::move(name_keys);
    }
    make_openers();
    return sealed;
}

Result<void> Secrets::rotate(Time now) {
    const auto cookie = random_key(), name = random_key();
    if (!cookie || !name) return fail("no random bytes from the system");
    Keys cookies = cookie_keys_, names = name_keys_;
    std::erase_if(cookies, [](const Key& key) { return !key.current; });
    cookies.push_back({cookies.front().id ^ 1, *cookie, false, unix_s(now), 0});
    const uint32_t last = std::ranges::find_if(names, &Key::current)->id;
    uint32_t next = last;
    // Nor the id of a coming key: somebody may know it already.
    do next = (next + 1) % kNameKeyIds;
    while (next != last && std::ranges::find(names, next, &Key::id) != names.end());
    if (next == last)
        return fail("all {} name keys are in use; wait until old ones have retired", kNameKeyIds);
    std::erase_if(names, &Key::coming);
    names.push_back({next, *name, false, unix_s(now), 0});
    return become(std::move(cookies), std::move(names));
}

bool Secrets::coming() const { return std::ranges::any_of(name_keys_, &Key::coming); }

Result<void> Secrets::promote(Time now, std::chrono::seconds names_open, std::chrono::seconds cookies_open) {
    Keys cookies = cookie_keys_, names = name_keys_;
    for (const auto& [keys, open] : {std::pair{&cookies, cookies_open}, {&names, names_open}})
        for (Key& key : *keys) {
            const bool was_current = std::exchange(key.current, key.coming());
            if (was_current) key.retires_s = unix_s(now + open);
        }
    return become(std::move(cookies), std::move(names));
}

Result<bool> Secrets::retire(Time now) {
    const auto over = [&](const Key& key) { return key.retires_s != 0 && key.retires_s <= unix_s(now); };
    Keys cookies = cookie_keys_, names = name_keys_;
    if (std::erase_if(cookies, over) + std::erase_if(names, over) == 0) return false;
    if (auto sealed = become(std::move(cookies), std::move(names)); !sealed)
        return tl::make_unexpected(sealed.error());
    return true;
}

std::optional<BladeId> Secrets::home(const SessionName& name) const {
    const auto opener = openers_.find(name[0]);
    return opener != openers_.end() ? opener->second.home(name) : std::nullopt;
}

}  // namespace keyrail
