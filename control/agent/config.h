// SPDX-License-Identifier: Apache-2.0
// keyrail-agent's configuration: one [blade] table (README.md has an example).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "control/protocol/tls_context.h"
#include "control/protocol/wakefulness.h"
#include "dataplane/common/address.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct AgentConfig {
    BladeId id = 0;
    HostPort control;       // keyraild
    HostPort listen;        // for other agents
    std::string interface;  // where clients' segments arrive
    TlsFiles tls;
    std::string store;
    uint64_t store_bytes = 0;
    std::string server_group;  // may be empty: root only
    std::filesystem::path bpffs;
    bool accept_program = true;                         // false: this blade does without late binding
    std::chrono::microseconds busy_poll{0};             // event_loop.h
    std::chrono::microseconds stay_awake = kStayAwake;  // wakefulness.h
    bool urgent = true;                                 // urgency.h
    std::optional<unsigned> core;                       // likewise
};

/// The configuration, or every mistake in the file, each as "FILE:LINE: what; what to do".
tl::expected<AgentConfig, std::vector<std::string>> load_agent_config(const std::filesystem::path& file);

}  // namespace keyrail
