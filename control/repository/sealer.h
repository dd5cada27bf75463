// SPDX-License-Identifier: Apache-2.0
// Seals sessions for the repository: AES-256-GCM by ipsec-mb, a burst of them at a time.
// Sealed = nonce (12 bytes, random) | ciphertext | tag (16 bytes).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

struct IMB_MGR;
struct gcm_key_data;

namespace keyrail {

inline constexpr size_t kPoolKeySize = 32;
inline constexpr size_t kSealNonce = 12, kSealTag = 16;

/// Wiped when it goes.
struct PoolKeyBytes : std::array<uint8_t, kPoolKeySize> {
    PoolKeyBytes() { fill(0); }
    ~PoolKeyBytes();
    PoolKeyBytes(const PoolKeyBytes&) = default;
    PoolKeyBytes& operator=(const PoolKeyBytes&) = default;
};

/// A key, made ready for many records.
class SealingKey {
  public:
    explicit SealingKey(const PoolKeyBytes& key);
    ~SealingKey();
    SealingKey(SealingKey&&) noexcept = default;
    SealingKey& operator=(SealingKey&&) noexcept = default;

    [[nodiscard]] const gcm_key_data* native() const { return expanded_.get(); }
    [[nodiscard]] const PoolKeyBytes& bytes() const { return bytes_; }

  private:
    struct Wiped {
        void operator()(gcm_key_data* data) const;
    };
    PoolKeyBytes bytes_;  // to wrap it for those who come later
    std::unique_ptr<gcm_key_data, Wiped> expanded_;
};

/// One record to be sealed: `text` becomes sealed; what was in it is wiped. `context` is authenticated.
struct SealingJob {
    const SealingKey* key = nullptr;
    std::string context;
    std::string text;
};

/// Seals and opens a text whose answer is known, the way that seal() does it. For start-up: a library that
/// refuses bursts (ipsec-mb from 1.4 on wants more than those before) would otherwise show only when a blade
/// has died and its sessions are not in the repository.
Result<void> prove_sealing();

/// All at once; an error (no random bytes, no crypto) seals none of them, and wipes them all.
Result<void> seal(std::span<SealingJob> jobs);

/// An error: damaged, of another key, or of another context.
Result<std::string> unseal(const SealingKey& key, std::string_view context, std::string_view sealed);

}  // namespace keyrail
