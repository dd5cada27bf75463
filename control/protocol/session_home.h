// SPDX-License-Identifier: Apache-2.0
// Session names, opened one by one with OpenSSL (dataplane/common/session_name.h; DESIGN.md section 4). The
// dispatcher opens them by the burst.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "dataplane/common/session_name.h"

struct evp_cipher_ctx_st;

namespace keyrail {

/// Opens the names that were made with one key. To expand a key takes OpenSSL ten times as long as a block:
/// that is done once. Wipes what it made of the key when it goes. One thread at a time.
class NameOpener {
  public:
    explicit NameOpener(std::span<const uint8_t, kNameKeySize> key);

    /// The blade that made this name with this key. nullopt: nobody did, or a bit of it was changed.
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const;

  private:
    struct Freed {
        void operator()(evp_cipher_ctx_st* context) const;
    };
    using Cipher = std::unique_ptr<evp_cipher_ctx_st, Freed>;
    /// nullptr: OpenSSL cannot.
    static Cipher cipher(std::span<const uint8_t, kNameKeySize> key, int direction);
    static bool run(const Cipher& cipher, const uint8_t* in, NameBlock& out);

    Cipher tag_, block_;
};

}  // namespace keyrail
