// SPDX-License-Identifier: Apache-2.0
// The keys of a [[service]] that depend on nothing else in keyraild's configuration.
#pragma once

#include "control/daemon/config/config.h"
#include "control/protocol/toml_table.h"

namespace keyrail {

inline constexpr size_t kMaxName = 63;
/// Letters, digits, '-', '_' and '.', at most kMaxName of them.
bool is_plain_name(std::string_view text);

/// Reads them into `service`; mistakes into `errors`.
void read_service_keys(ServiceConfig& service, TomlTable& table, ConfigErrors& errors);

}  // namespace keyrail
