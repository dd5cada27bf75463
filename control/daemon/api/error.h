// SPDX-License-Identifier: Apache-2.0
// How the API says no: {"error": {"code", "message", "fix", "at"}}. `fix` and `at` may be null.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace keyrail {

/// The word for programs that goes with a status of HTTP: "not_found".
std::string_view code_of(int status);

/// What is wrong, as all of Keyrail says it: "what; what to do".
nlohmann::json error_json(int status, std::string_view text);

/// "FILE:LINE: what; what to do": `at` says the place.
nlohmann::json mistake_json(std::string_view text);

}  // namespace keyrail
