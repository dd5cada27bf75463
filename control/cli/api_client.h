// SPDX-License-Identifier: Apache-2.0
// Asking keyraild over its unix socket.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "control/cli/command.h"

namespace keyrail::cli {

/// Why there is no answer: the exit status, and the error object that says so (control/daemon/api/error.h).
struct Failure {
    int status = kRefused;
    nlohmann::json error;
};
using Reply = tl::expected<nlohmann::json, Failure>;

/// {"code", "message", "fix", "at"} of "what; what to do".
Failure failure(int status, std::string_view text);

/// A path of these words, each encoded (RFC 3986 section 2.1): none of them can be more than one word.
std::string path_of(std::initializer_list<std::string_view> words);

/// GET (or POST, of a JSON object) of a path such as "/v1/status".
Reply ask(const Invocation& invocation, const std::string& path);
Reply tell(const Invocation& invocation, const std::string& path,
           const nlohmann::json& body = nlohmann::json::object(), const std::string& if_match = "");

/// GET of what is not JSON.
tl::expected<std::string, Failure> fetch(const Invocation& invocation, const std::string& path);
/// Server-sent events of a path, each with its kind and data, until `heard` says false (kDone), or keyraild
/// ends it or refuses.
Failure follow(const Invocation& invocation, const std::string& path,
               const std::function<bool(const std::string& kind, const nlohmann::json& data)>& heard);

/// Says why not. Gives the exit status.
int complain(const Invocation& invocation, const Failure& failure);

/// Prints a reply: as it is with --json, else by `show`. Gives the exit status.
int print(const Invocation& invocation, const Reply& reply,
          const std::function<void(const nlohmann::json&)>& show);

}  // namespace keyrail::cli
