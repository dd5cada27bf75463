// SPDX-License-Identifier: Apache-2.0
// The chassis' keys: cookie keys (SYN cookies) and name keys (session names). Made at the first start, kept
// sealed in <state_dir>/keys.sealed with AES-256-GCM (NIST SP 800-38D) under <state_dir>/seal.key, both 0600.
// A restart brings the same keys back: were they lost, every flow in its handshake would break and every
// session lose its home.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "control/protocol/result.h"
#include "dataplane/steer/session_name.h"

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
    struct CookieKey {
        uint32_t key_id = 0;  // 0 or 1: the bit in the cookie
        SecretKey key;
        bool current = false;
        bool operator==(const CookieKey&) const = default;
    };
    struct NameKey {
        uint32_t generation = 0;  // 0..255: byte 0 of the names
        SecretKey key;
        bool current = false;
        bool operator==(const NameKey&) const = default;
    };

    /// What is in `state_dir`; fresh keys, saved there, if nothing is. Damaged or foreign files are an error:
    /// they are never silently replaced.
    static Result<Secrets> load_or_create(const std::filesystem::path& state_dir);

    /// Fresh keys from the system's random generator.
    static Result<Secrets> create();

    [[nodiscard]] const std::vector<CookieKey>& cookie_keys() const { return cookie_keys_; }
    [[nodiscard]] const std::vector<NameKey>& name_keys() const { return name_keys_; }

    /// The blade that made this session name; nullopt for names that are not ours.
    [[nodiscard]] std::optional<uint16_t> home(const SessionName& name) const;

  private:
    static Result<Secrets> unseal(const std::filesystem::path& dir);
    Result<void> seal(const std::filesystem::path& dir) const;

    std::vector<CookieKey> cookie_keys_;
    std::vector<NameKey> name_keys_;
};

}  // namespace keyrail
