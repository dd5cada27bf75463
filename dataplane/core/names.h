// SPDX-License-Identifier: Apache-2.0
// Opens the session names of a whole burst: two ipsec-mb AES-ECB jobs per name-key generation, however many
// names (a job per name is slower than plain AES-NI; DESIGN.md section 4). One decrypts their blocks, the
// other makes the tags that they must have.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "dataplane/common/result.h"
#include "dataplane/common/stats.h"
#include "dataplane/core/burst.h"
#include "dataplane/core/snapshot.h"

namespace keyrail {

class NameDecrypter {
  public:
    static Result<std::unique_ptr<NameDecrypter>> create();
    ~NameDecrypter();
    NameDecrypter(const NameDecrypter&) = delete;
    NameDecrypter& operator=(const NameDecrypter&) = delete;

    /// Fills in `homes` of every hello: the blade in each of its names, 0 where a name is not ours, every bit
    /// of it.
    void decrypt(std::span<PendingHello> hellos, const Snapshot& snapshot, WorkerStats& stats);

  private:
    NameDecrypter();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Expands a name key for decryption, and the tag key that is made of it.
void expand_name_key(std::span<const uint8_t, kNameKeySize> key, NameKey& expanded);

}  // namespace keyrail
