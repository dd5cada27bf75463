// SPDX-License-Identifier: Apache-2.0
// Sealing of small secrets for a disk: AES-256-GCM (NIST SP 800-38D) with a key that lies in a file of
// root's.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

namespace keyrail {

class SealKey {
  public:
    static constexpr size_t kSize = 32;
    SealKey() = default;
    SealKey(const SealKey&) = default;
    SealKey& operator=(const SealKey&) = default;
    ~SealKey();

    /// Reads `file`, which only its owner may read; or makes it, when it is not there and `make` is set.
    static Result<SealKey> load(const std::filesystem::path& file, bool make);

    /// The one that state_dir's files are sealed with: where systemd hands it over (systemd.exec:
    /// LoadCredentialEncrypted=, from the TPM where there is one), it lies there and nowhere else; without
    /// that, in a file of root's.
    static Result<SealKey> of(const std::filesystem::path& state_dir, bool make);

    /// purpose: authenticated with the text, so that one sealed file cannot stand in for another.
    [[nodiscard]] Result<std::string> seal(std::string_view plain, std::string_view purpose) const;
    /// Any change to text, key or purpose is an error. Wipe what you get.
    [[nodiscard]] Result<std::string> unseal(std::string_view sealed, std::string_view purpose) const;

  private:
    std::array<uint8_t, kSize> bytes_{};
};

}  // namespace keyrail
