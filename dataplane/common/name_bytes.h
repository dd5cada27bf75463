// SPDX-License-Identifier: Apache-2.0
// Session names in messages: 32 bytes of a string.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "dataplane/common/session_name.h"

namespace keyrail {

/// nullopt: another length.
inline std::optional<SessionName> name_from(const std::string& bytes) {
    SessionName name;
    if (bytes.size() != name.size()) return std::nullopt;
    std::ranges::copy(bytes, name.begin());
    return name;
}

inline std::string bytes_of(const SessionName& name) { return {name.begin(), name.end()}; }

}  // namespace keyrail
