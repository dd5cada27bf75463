// SPDX-License-Identifier: Apache-2.0
// Small files that must never be half written: state, keys, certificates.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"

namespace keyrail {

/// Writes `content` beside `file`, syncs it, and renames it over `file`: after a crash there is the old or
/// the new one.
Result<void> replace_file(const std::filesystem::path& file, std::string_view content, mode_t mode);

/// A file of keyraild's state that is longer is none of its own.
inline constexpr size_t kMaxStateFile = size_t{4} << 20;

/// The whole file. One that is not there, or is larger than `most` bytes, is an error.
Result<std::string> read_file(const std::filesystem::path& file, size_t most);

/// Makes the directory, and its parents, unless it is there.
Result<void> make_directory(const std::filesystem::path& dir, mode_t mode);

}  // namespace keyrail
