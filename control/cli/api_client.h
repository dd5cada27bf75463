// SPDX-License-Identifier: Apache-2.0
// Asking keyraild over its unix socket.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "control/cli/command.h"
#include "dataplane/common/result.h"

namespace keyrail::cli {

/// GET (or POST, of a JSON object) of a path such as "/v1/status". Errors are keyraild's own words, or why it
/// cannot be reached and what to do.
Result<nlohmann::json> ask(const std::filesystem::path& socket, const std::string& path);
Result<nlohmann::json> tell(const std::filesystem::path& socket, const std::string& path,
                            const nlohmann::json& body = nlohmann::json::object());

/// Prints a reply: as it is with --json, else by `show`. Gives the exit status.
int print(const Invocation& invocation, const Result<nlohmann::json>& reply,
          const std::function<void(const nlohmann::json&)>& show);

}  // namespace keyrail::cli
