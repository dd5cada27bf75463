// SPDX-License-Identifier: Apache-2.0
// What flows through the pipeline: up to 64 packets, and the ClientHellos that wait for a decision.
#pragma once

#include <array>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "dataplane/common/verdict.h"
#include "dataplane/flow/hold.h"
#include "dataplane/tables/next_hop.h"
#include "dataplane/wire/client_hello.h"
#include "dataplane/wire/headers.h"

struct rte_mbuf;

namespace keyrail {

inline constexpr uint16_t kBurst = 64;

struct Packet {
    rte_mbuf* mbuf;
    uint8_t* data;  // first byte of the Ethernet header
    uint16_t size;  // of the frame
    uint8_t port;   // index into Ports: where it came from
    Action action;
    Reason reason;
    bool decided;      // action and reason are final
    uint16_t service;  // index into Snapshot::services
    uint16_t blade;    // forward: the blade; 0: `hop` says it all
    uint32_t follows;  // not decided: index of the PendingHello that decides about this packet
    uint64_t hash;     // FlowHash of the tuple
    NextHop hop;       // forward, no blade: where to
    Headers h;

    [[nodiscard]] std::span<const uint8_t> frame() const { return {data, size}; }
    [[nodiscard]] std::span<const uint8_t> payload() const { return {data + h.payload, h.payload_size}; }

    void decide(Action what, Reason why) {
        action = what;
        reason = why;
        decided = true;
    }
    void forward_to(uint16_t to, Reason why) {
        blade = to;
        decide(Action::forward, why);
    }
};

/// Who has the session, and by which of the hello's names.
struct Holder {
    uint16_t blade = 0;  // 0: nobody that we know of
    uint8_t name = 0;
    bool moved = false;  // not its home
};

/// The start of a client's stream, complete enough to pick a blade. It lies in one packet of this burst or in
/// a hold.
struct PendingHello {
    uint32_t packet = kNone;  // index into Burst::packets
    uint32_t hold = kNone;    // slot of the hold table
    uint64_t hash = 0;
    uint16_t service = 0;
    uint16_t pool = 0;  // index into Snapshot::pools: blades that have the content asked for
    uint16_t tls_version = 0;
    uint16_t bound = 0;   // the blade that has the connection already; 0: the client may go to any
    uint16_t opener = 0;  // the blade that can open the foreign ticket it shows; 0: none that we know of
    Reason unnamed = Reason::steer_new;  // reason if no name of it is ours
    uint8_t name_count = 0;
    std::array<SessionName, kMaxNames> names;
    std::array<uint16_t, kMaxNames> homes;  // by NameDecrypter
    Holder holder;
    // the decision
    uint16_t blade = 0;
    Reason reason = Reason::steer_new;
    bool moving = false;  // in hold `hold` until the move is acknowledged
    uint8_t older = 0;    // in Burst's index
};

/// All of its packets came from ports of one role.
class Burst {
  public:
    uint16_t count = 0;
    uint16_t hello_count = 0;
    std::array<Packet, kBurst> packets;
    std::array<PendingHello, kBurst> hellos;

    [[nodiscard]] std::span<Packet> all() { return {packets.data(), count}; }
    [[nodiscard]] std::span<PendingHello> pending() { return {hellos.data(), hello_count}; }

    void forget_hellos() {
        if (std::exchange(hello_count, uint16_t{0}) != 0) newest_.fill(0);
    }
    /// A new one, to be filled in where it lies: copies of it would be a tenth of its cost.
    PendingHello& add_hello(uint64_t hash) {
        PendingHello& hello = *new (&hellos[hello_count++]) PendingHello;
        hello.hash = hash;
        hello.older = std::exchange(newest_[hash % newest_.size()], static_cast<uint8_t>(hello_count));
        return hello;
    }
    /// The hello of this connection that lies in a packet of this burst, or kNone.
    [[nodiscard]] uint32_t hello_in_packet(uint64_t hash) const {
        for (unsigned i = newest_[hash % newest_.size()]; i != 0; i = hellos[i - 1].older)
            if (hellos[i - 1].hash == hash && hellos[i - 1].packet != kNone) return i - 1;
        return kNone;
    }

  private:
    std::array<uint8_t, 128> newest_{};  // by hash: index + 1 of a hello; others with the same hash are older
};

}  // namespace keyrail
