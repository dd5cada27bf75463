// SPDX-License-Identifier: Apache-2.0
// The immutable tables that control publishes to the workers: services, pools, blades, keys, Maglev rings.
// Built and checked whole from a link.Snapshot message; swapped in by one pointer; freed after RCU.
//
// Indices into services and pools count in one snapshot only, that is within one burst. What outlives a burst
// names a service by its address and port or by its id, and a blade by its id, and looks again: all of them
// may be gone.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/common/cookie.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/tables/content_routes.h"
#include "dataplane/tables/maglev.h"
#include "dataplane/wire/client_hello.h"
#include "dataplane/wire/headers.h"

namespace keyrail {

namespace link {
class Snapshot;
}

/// Which new sessions a blade takes; from the last to the first that a client is given to.
enum class Intake : uint8_t { none, draining, overloaded, open };

/// All zero: there is no such blade.
struct BladeEntry {
    uint16_t load = 0;
    Intake intake = Intake::none;
    bool known : 1 = false;
    bool flows_live : 1 = false;  // it is not proven dead: what it has stays with it, whatever it takes

    [[nodiscard]] bool takes_new() const { return intake != Intake::none; }
};
static_assert(sizeof(BladeEntry) == 4);

/// The blades that have some content, once for all services and routes with the same ones.
struct Pool {
    std::vector<BladeId> blades;   // ascending
    std::vector<uint8_t> weights;  // of each; empty: all the same
    Maglev ring;                   // over those with the best intake: open, else overloaded, else draining
    std::bitset<BladeId::kMax + 1> members;  // the same as `blades`, for one look a hello

    [[nodiscard]] bool has(BladeId blade) const { return members[blade]; }
};

/// What a client gets that nobody can serve.
enum class Refuse : uint8_t { reset, drop };

struct Service {
    std::string name;
    ServiceId id;
    bool by_session = true;  // by session names; false: Maglev of the tuple
    bool late = true;        // by_session: the blade is chosen after the ClientHello; false: at the SYN
    uint16_t port = 0;       // host order
    std::array<uint32_t, 2> hold_budget_us{};  // TLS 1.2, TLS 1.3; 0: its sessions are not worth a move
    std::array<uint32_t, 2> saving_us{};       // as measured; 0: not known
    bool hold_fixed = false;                   // the budget is the operator's word
    bool early_data = false;
    bool repository = false;  // may have sessions of dead blades
    uint32_t hello_timeout_us = 0;
    uint32_t hello_limit = kHelloDefault;         // bytes, record headers included
    bool proxy_header = false;                    // one may be in front of the hello (wire/proxy_header.h)
    uint32_t idle_ticks = FlowTable::kIdleTicks;  // then a flow is forgotten
    Refuse refuse = Refuse::reset;
    bool ping = false;  // its VIPs answer while it is served
    uint16_t pool = 0;  // index into Snapshot::pools: of hellos that match no route
    ContentRoutes routes;
    bool content_moves = true;     // a session is moved to where the content is
    bool served = false;           // one of its pools has a blade for new clients
    std::vector<BladeId> members;  // blades of all its pools, ascending
    uint32_t flow_blades = 0;      // that may have flows of it; those that take nothing new, too

    [[nodiscard]] bool has_member(BladeId blade) const { return std::ranges::binary_search(members, blade); }
    [[nodiscard]] uint32_t hold_budget(TlsVersion tls_version) const {
        return hold_budget_us[tls_version == TlsVersion::tls13];
    }
};

inline constexpr uint16_t kNoService = 0xffff;

/// What an address says by itself. Where several services have it, the most silent one has its way.
struct Vip {
    Refuse refuse = Refuse::reset;
    bool ping = true;     // none of them is against it
    bool served = false;  // one of them has a blade for new clients
};

/// An AES-128 key, expanded for one direction: 11 round keys.
struct alignas(16) AesRounds : std::array<uint8_t, 176> {};

struct NameKey {
    AesRounds rounds;      // for decryption
    AesRounds tag_rounds;  // of its tag key, for encryption
};

/// Whose tickets these are (RFC 5077 section 4 and appendix A): a blade without our hooks that can open them.
struct TicketKey {
    std::array<uint8_t, kTicketKeyNameSize> name{};
    BladeId blade = 0;
};

struct Snapshot {
    uint64_t generation = 0;
    std::array<kr_cookie_key, 2> cookie_keys{};
    uint8_t cookie_key = 0;                                               // the current one
    std::array<std::unique_ptr<NameKey>, 256> name_keys;                  // by generation; null = unknown
    std::array<BladeEntry, BladeId::kMax + 1> blades{};                   // by id
    std::array<std::vector<uint8_t>, BladeId::kMax + 1> blade_addresses;  // backplane address, 4 or 16 bytes
    std::vector<Pool> pools;
    std::vector<Service> services;
    std::vector<TicketKey> ticket_keys;  // ascending by name

    Snapshot() = default;
    Snapshot(const Snapshot&) = delete;
    Snapshot& operator=(const Snapshot&) = delete;

    ~Snapshot();  // wipes the keys

    /// The service at this VIP and port, or kNoService.
    [[nodiscard]] uint16_t find(const Address& address, uint32_t port) const {
        const Slot wanted(address, port);
        for (size_t i = wanted.hash();; i++) {
            const Slot& s = slots_[i & (slots_.size() - 1)];
            if (s.service == kNoService || s.is_at(wanted)) return s.service;
        }
    }
    [[nodiscard]] bool is_vip(const Address& address) const { return find(address, kAnyPort) != kNoService; }
    /// nullptr: there is no such service any more.
    [[nodiscard]] const Service* service(ServiceId id) const;
    /// nullptr: it is none.
    [[nodiscard]] const Vip* vip(const Address& address) const {
        const uint16_t index = find(address, kAnyPort);
        return index == kNoService ? nullptr : &vips_[index];
    }
    /// The blade that can open tickets with this key name; 0: unknown, or no key name at all.
    [[nodiscard]] BladeId ticket_blade(Bytes key_name) const;

    /// Everything is checked: ids, key sizes, addresses, duplicates. On error nothing was changed anywhere.
    static Result<std::unique_ptr<Snapshot>> build(const link::Snapshot& message);

  private:
    static constexpr uint32_t kAnyPort = 1u << 16;  // such a slot says only that the address is a VIP
    /// 32 bytes, two a cache line; compared as three words.
    struct alignas(32) Slot {
        std::array<uint64_t, 2> address{};
        uint32_t port = 0;
        uint16_t service = kNoService;  // kNoService: free. Of kAnyPort it is an index into vips_

        Slot() = default;
        Slot(const Address& at, uint32_t at_port) : port(at_port) {
            std::memcpy(address.data(), at.data(), sizeof at);
        }
        [[nodiscard]] bool is_at(const Slot& other) const {
            return ((address[0] ^ other.address[0]) | (address[1] ^ other.address[1])) == 0 &&
                   port == other.port;
        }
        /// Services are the operator's, not an attacker's: no key. A product of both halves, folded.
        [[nodiscard]] uint64_t hash() const {
            constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
            const auto product = static_cast<unsigned __int128>(address[0] ^ kOdd) * (address[1] + port);
            return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
        }
    };
    Slot* slot(const Address& address, uint32_t port);
    void add_vip(const Address& address, const Service& service);
    std::vector<Vip> vips_;
    std::vector<std::pair<ServiceId, uint16_t>> ids_;  // ascending; index into services
    std::vector<Slot> slots_;  // open addressing, a power of two, at most half full; never empty
};

}  // namespace keyrail
