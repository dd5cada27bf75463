// SPDX-License-Identifier: Apache-2.0
// The chassis' keys: cookie keys (SYN cookies) and name keys (session names). Made at the first start, kept
// sealed in <state_dir>/keys.sealed with AES-256-GCM (NIST SP 800-38D) under <state_dir>/seal.key, both 0600.
// A restart brings the same keys back: were they lost, every flow in its handshake would break and every
// session lose its home.
//
// Keys are replaced in steps, so that nobody meets a name or a cookie whose key he does not have: a coming
// key is given to all, but nothing is made with it; when all have it, it becomes the current one; the one
// before, old now, still opens what it made, until nothing of that can be left.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "control/protocol/session_home.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

/// 16 bytes that are overwritten when they go.
class SecretKey {
  public:
    static constexpr size_t kSize = 16;
    SecretKey() = default;
    SecretKey(const SecretKey&) = default;
    SecretKey& operator=(const SecretKey&) = default;
    ~SecretKey();

    std::array<uint8_t, kSize> bytes{};
    bool operator==(const SecretKey&) const = default;
};
static_assert(SecretKey::kSize == kNameKeySize);

class Secrets {
  public:
    struct Key {
        uint32_t id =
            0;  // of a cookie key 0 or 1, the bit in the cookie; of a name key 0..255, byte 0 of the names
        SecretKey key;
        bool current = false;
        int64_t made_s = 0;     // unix time
        int64_t retires_s = 0;  // of an old key; else 0
        [[nodiscard]] bool coming() const { return !current && retires_s == 0; }
        bool operator==(const Key&) const = default;
    };
    using Keys = std::vector<Key>;
    using Time = std::chrono::system_clock::time_point;

    /// What is in `state_dir`; fresh keys, saved there, if nothing is. Damaged or foreign files are an error:
    /// they are never silently replaced.
    static Result<Secrets> load_or_create(const std::filesystem::path& state_dir);

    /// Fresh keys from the system's random generator.
    static Result<Secrets> create();

    [[nodiscard]] const Keys& cookie_keys() const { return cookie_keys_; }
    [[nodiscard]] const Keys& name_keys() const { return name_keys_; }

    /// A coming name key and a coming cookie key; those that were coming are dropped, for nothing was made
    /// with them. Of two cookie keys the old one makes room. Each of these three has happened only when it is
    /// on the disk.
    Result<void> rotate(Time now);
    [[nodiscard]] bool coming() const;
    /// The coming keys become current; the old ones open for so long.
    Result<void> promote(Time now, std::chrono::seconds names_open, std::chrono::seconds cookies_open);
    /// Drops old keys whose time is over: were there any?
    Result<bool> retire(Time now);

    /// The blade that made this session name; nullopt for names that are not ours.
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const;

  private:
    static Result<Secrets> unseal(const std::filesystem::path& dir);
    Result<void> seal() const;
    Result<void> become(Keys cookie_keys, Keys name_keys);
    void make_openers();

    std::filesystem::path dir_;  // empty: not kept
    Keys cookie_keys_, name_keys_;
    std::map<uint32_t, NameOpener> openers_;  // of all name keys, by id
};

}  // namespace keyrail
