// SPDX-License-Identifier: Apache-2.0
// The immutable tables that control publishes to the workers: services, pools, blades, keys, Maglev rings.
// Built and checked whole from a link.Snapshot message; swapped in by one pointer; freed after RCU.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/accept/cookie.h"
#include "control/protocol/result.h"
#include "dataplane/steer/maglev.h"
#include "dataplane/steer/session_name.h"

namespace keyrail {

namespace link {
class Snapshot;
}

enum class BladeState : uint8_t { unknown, down, draining, up };

struct BladeEntry {
    BladeState state = BladeState::unknown;
    uint16_t load = 0;
};

struct Service {
    std::string name;
    bool by_session = true;  // late binding and session names; false: Maglev of the tuple
    uint16_t port = 0;       // host order
    uint32_t hold_budget_us = 0;
    uint32_t hello_timeout_us = 0;
    std::vector<uint16_t> pool;
    Maglev ring;  // over the blades of the pool that are up (over all that drain, if none is)
};

/// VIP and port -> service. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d.
struct ServiceKey {
    std::array<uint8_t, 16> address{};
    uint16_t port = 0;
};
inline constexpr uint16_t kNoService = 0xffff;

struct Snapshot {
    uint64_t generation = 0;
    std::array<kr_cookie_key, 2> cookie_keys{};
    std::array<bool, 2> has_cookie_key{};
    uint8_t cookie_key = 0;  // the current one
    std::array<std::unique_ptr<std::array<uint8_t, kNameKeySize>>, 256> name_keys;  // by generation
    std::array<BladeEntry, kBladeIdMax + 1> blades{};                               // by id
    std::vector<Service> services;

    ~Snapshot();  // wipes the keys

    /// The service at this VIP and port, or kNoService. `is_vip` tells whether the address is a VIP at all.
    [[nodiscard]] uint16_t find(const ServiceKey& key, bool* is_vip) const;

    /// Everything is checked: ids, key sizes, addresses, duplicates. On error nothing was changed anywhere.
    static Result<std::unique_ptr<Snapshot>> build(const link::Snapshot& message);

  private:
    struct Slot {
        ServiceKey key;
        uint16_t service = kNoService;
        bool used = false;
    };
    std::vector<Slot> slots_;       // open addressing, a power of two, at most half full
    std::vector<std::array<uint8_t, 16>> vips_;  // sorted
};

}  // namespace keyrail
