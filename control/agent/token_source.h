// SPDX-License-Identifier: Apache-2.0
// Where `keyrail-agent join` gets its token from. Never from the command line, which every user of the
// machine can read (proc(5), /proc/PID/cmdline).
#pragma once

#include <filesystem>
#include <string>

#include "dataplane/common/result.h"

namespace keyrail {

/// The environment's variable, for systemd's EnvironmentFile= and the like; only root and the process itself
/// can read a process' environment. Taken out of it when it has been read.
inline constexpr const char* kTokenVariable = "KEYRAIL_JOIN_TOKEN";

/// From `file` ("-": standard input), where one is given: the token alone, or a line KEYRAIL_JOIN_TOKEN=TOKEN
/// as in an environment file. Else from the environment, else from standard input; a person is asked for it
/// there, and it is not shown. The caller wipes it.
Result<std::string> read_token(const std::filesystem::path& file);

}  // namespace keyrail
