// SPDX-License-Identifier: Apache-2.0
// Commands that make keys and certificates.
#pragma once

#include <filesystem>

#include "control/cli/command.h"
#include "control/pki/ca.h"

namespace keyrail::cli {

/// Says which files were written, or why none. Gives the exit status.
int show_files(const Invocation& invocation, const Result<pki::Files>& files);

/// A key that is there is not made anew without a word. 0: go on; else the exit status.
int replaced(const Invocation& invocation, const std::filesystem::path& key);

}  // namespace keyrail::cli
