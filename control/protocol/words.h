// SPDX-License-Identifier: Apache-2.0
// What operators write, in files and on command lines alike: durations, rates, and words that may be
// mistyped. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

/// A whole number and a unit: us, ms, s, min (or m), h, d.
Result<std::chrono::microseconds> parse_duration(std::string_view text);
/// In the largest unit that gives a whole number.
std::string duration_text(std::chrono::microseconds duration);

/// Per second: "2000/s", "120/min", or "2000". Whole, and at least one a second.
Result<uint32_t> parse_rate(std::string_view text);

/// The word that was probably meant; nullopt: nothing is near.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace keyrail
