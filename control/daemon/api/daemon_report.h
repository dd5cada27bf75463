// SPDX-License-Identifier: Apache-2.0
// What only metrics tell of keyraild: its configuration, keys and certificates by the clock, handshakes by
// service and blade, and the process itself.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace keyrail {

class Daemon;

/// {config: {revision, last_apply_successful, last_apply_s, confirm_pending},
///  keys: {name, cookie: age of the current one in seconds; waits_for: how many a coming one waits for},
///  certificates: [{who: "ca", "keyraild" or "agent", blade, until_s}], those of agents that are connected,
///  handshakes: [{service, tls_version, blade, result, count}],
///  process: {cpu_s, start_s, resident_bytes, virtual_bytes, open_fds, max_fds}}
nlohmann::json daemon_report(Daemon& daemon);

/// Of this process, as /proc has it; what cannot be read is missing.
nlohmann::json process_report();

}  // namespace keyrail
