// SPDX-License-Identifier: Apache-2.0
// What the agent tells the TLS servers of its blade through the store's shared memory: who the blade is, the
// name keys, and what each service wants of its sessions. Plain data of fixed size: servers read it in place.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/common/ids.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

/// How often a ticket of TLS 1.3 resumes, at its one holder; the strictest first. (A TLS 1.2 session is
/// always reusable: its name never changes.)
enum class Tickets : uint8_t {
    kSingleUse,      // once; its early data, too, therefore
    kEarlyDataOnce,  // as often as one server would allow; its early data once
    kReusable,       // likewise; and no early data
};

/// What one service wants of its sessions. The defaults are the strictest.
struct SessionPolicy {
    ServiceId service;
    uint32_t lifetime_s = 7200;  // longest time from the full handshake to the last resumption
    Tickets tickets = Tickets::kSingleUse;
    bool early_data = false;  // 0-RTT; never of reusable tickets
    bool has_id_context = false;
    std::array<uint8_t, 32> id_context{};  // in place of the application's own, if it has one
};

/// What holds where either of two policies may be meant: the stricter of each.
constexpr SessionPolicy stricter(const SessionPolicy& a, const SessionPolicy& b) {
    SessionPolicy out;
    out.service = a.service == b.service ? a.service : ServiceId{};
    out.lifetime_s = a.lifetime_s < b.lifetime_s ? a.lifetime_s : b.lifetime_s;
    out.tickets = a.tickets < b.tickets ? a.tickets : b.tickets;
    out.early_data = a.early_data && b.early_data;
    return out;
}

/// Where a service listens.
struct ServiceEndpoint {
    std::array<uint8_t, 16> address{};  // IPv4 as ::ffff:a.b.c.d
    uint16_t port = 0;
    uint16_t slot = 0;  // of its policy

    [[nodiscard]] bool same_place(const ServiceEndpoint& other) const {
        return port == other.port && address == other.address;
    }
};

struct StoreNameKey {
    uint8_t generation = 0;
    std::array<uint8_t, kNameKeySize> key{};
};

struct StoreControl {
    static constexpr uint16_t kMaxServices = 64;  // with the one that is not known
    static constexpr uint16_t kMaxEndpoints = 256;
    static constexpr uint16_t kMaxNameKeys = 8;
    static constexpr uint16_t kMaxCheckers = 8;
    /// The session of a check is good for so long: it is resumed by the next one.
    static constexpr uint32_t kCheckLifetimeS = 10;

    BladeId blade_id = 0;
    /// Asked of the agent on a miss of a name of ours; 0: never.
    uint32_t pull_budget_us = 0;
    /// Names the agent's socket for that (pull.h): another random number at each start, for a name that can
    /// be foreseen could be bound by any local user before the agent.
    std::array<uint8_t, 16> pull_socket{};
    /// Each live TLS 1.3 connection is to get one fresh ticket.
    bool renew_tickets = false;
    /// Names are made with the first; the others still open names. None: names are random.
    uint16_t name_key_count = 0;
    std::array<StoreNameKey, kMaxNameKeys> name_keys{};
    /// By slot. Slot 0 is for connections whose service is not known (by a socket that is not seen).
    uint16_t service_count = 1;
    std::array<SessionPolicy, kMaxServices> services{};
    uint16_t endpoint_count = 0;
    std::array<ServiceEndpoint, kMaxEndpoints> endpoints{};
    /// Where keyraild's checks come from: they are no clients. IPv4 as ::ffff:a.b.c.d.
    uint16_t checker_count = 0;
    std::array<std::array<uint8_t, 16>, kMaxCheckers> checkers{};

    [[nodiscard]] bool is_checker(const std::array<uint8_t, 16>& client) const {
        for (uint16_t i = 0; i < checker_count && i < kMaxCheckers; i++)
            if (checkers[i] == client) return true;
        return false;
    }
    [[nodiscard]] static uint16_t bounded(const volatile uint16_t& shared) {
        const uint16_t slot = shared;  // one fetch: what is checked is what is used
        return slot < kMaxServices ? slot : 0;
    }
    /// Slot of the service there; 0 when there is none. Bounded whatever the counts say.
    [[nodiscard]] uint16_t slot_of(const ServiceEndpoint& place) const {
        for (uint16_t i = 0; i < endpoint_count && i < kMaxEndpoints; i++)
            if (endpoints[i].same_place(place)) return bounded(endpoints[i].slot);
        return 0;
    }
};

}  // namespace keyrail
