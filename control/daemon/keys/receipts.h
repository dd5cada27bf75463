// SPDX-License-Identifier: Apache-2.0
// Receipts: keyraild's word that an order of its own brought a session to a blade. The blade keeps it with
// the session, and shows it when keyraild learns anew who has what (Announce), or that it is gone
// (Checkpoint): what a blade merely claims counts for nothing.
//
//   order id (8 bytes) | AES-128-CBC-MAC(key, order id | blade | name), its first 8 bytes
//
// All that is authenticated has one length, for which CBC-MAC is sound (Bellare, Kilian, Rogaway 2000).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

struct evp_cipher_ctx_st;

namespace keyrail {

class Receipts {
  public:
    static constexpr size_t kSize = 16;

    /// With the key in `state_dir`, sealed; a new one when there is none.
    static Result<Receipts> load_or_create(const std::filesystem::path& state_dir);

    [[nodiscard]] std::string make(const SessionName& name, BladeId blade, uint64_t order) const;
    /// The order; nullopt: it is none of ours, or of another session or blade.
    [[nodiscard]] std::optional<uint64_t> order_in(const std::string& receipt, const SessionName& name,
                                                   BladeId blade) const;

  private:
    explicit Receipts(const std::string& key);
    struct Freed {
        void operator()(evp_cipher_ctx_st* context) const;
    };
    std::unique_ptr<evp_cipher_ctx_st, Freed> cipher_;
};

}  // namespace keyrail
