// SPDX-License-Identifier: Apache-2.0
// Does anybody listen on a unix socket?
#pragma once

#include <filesystem>

namespace keyrail {

/// Connects to a SOCK_STREAM socket and closes again: 0, or the errno that says why not.
int try_unix_socket(const std::filesystem::path& socket);

}  // namespace keyrail
