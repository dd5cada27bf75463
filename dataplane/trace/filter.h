// SPDX-License-Identifier: Apache-2.0
// Which packets a trace is about. Pure.
#pragma once

#include <bitset>
#include <optional>
#include <string>

#include "dataplane/common/result.h"
#include "dataplane/common/verdict.h"
#include "dataplane/trace/record.h"

namespace keyrail::link {
class TraceFilter;
}

namespace keyrail::trace {

struct AddressPrefix {
    Address address{};
    uint8_t bits = 0;  // of ::ffff:a.b.c.d for IPv4; 0: any address

    [[nodiscard]] bool has(const Address& other) const;
};

struct Filter {
    AddressPrefix client, service;
    uint16_t client_port = 0, service_port = 0;  // 0: any
    BladeId blade = 0;                           // 0: any
    std::bitset<kReasons> reasons;               // none: any
    std::string server_name;                     // lower case; "*.example.com": one label; "": any
    std::optional<SessionName> name;

    /// Everything is checked. Errors: what is wrong.
    static Result<Filter> read(const link::TraceFilter& message);
    /// What can be said when a packet comes. `from_client`: else it is a blade's.
    [[nodiscard]] bool wants(const Headers& headers, bool from_client) const;
    /// The rest, when it has ended.
    [[nodiscard]] bool wants(const Exit& exit, const TracedHello& hello) const;
};

}  // namespace keyrail::trace
