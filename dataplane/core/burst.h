// SPDX-License-Identifier: Apache-2.0
// What flows through the pipeline: up to 64 packets, and the ClientHellos that wait for a decision.
#pragma once

#include <array>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "dataplane/common/ids.h"
#include "dataplane/common/verdict.h"
#include "dataplane/core/hello_facts.h"
#include "dataplane/flow/hold.h"
#include "dataplane/tables/next_hop.h"
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
    BladeId blade;     // forward: the blade; 0: `hop` says it all
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
    void forward_to(BladeId to, Reason why) {
        blade = to;
        decide(Action::forward, why);
    }
};

/// The start of a client's stream, complete enough to pick a blade. It lies in one packet of this burst or in
/// a hold. `bind` makes it, `steer` decides, `settle` carries that out.
struct PendingHello {
    uint32_t packet = kNone;        // index into Burst::packets
    uint32_t hold = kNone;          // slot of the hold table
    uint32_t completed_by = kNone;  // in a hold: index of the packet of this burst that made it whole
    HelloFacts facts;
    Holder holder;
    Decision decision;
    Wait wait;            // of a decision to move
    bool moving = false;  // settled: in hold `hold` until the move is acknowledged
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
        hello.facts.hash = hash;
        hello.older = std::exchange(newest_[hash % newest_.size()], static_cast<uint8_t>(hello_count));
        return hello;
    }
    /// The hello of this connection that lies in a packet of this burst, or kNone.
    [[nodiscard]] uint32_t hello_in_packet(uint64_t hash) const {
        for (unsigned i = newest_[hash % newest_.size()]; i != 0; i = hellos[i - 1].older)
            if (hellos[i - 1].facts.hash == hash && hellos[i - 1].packet != kNone) return i - 1;
        return kNone;
    }

  private:
    std::array<uint8_t, 128> newest_{};  // by hash: index + 1 of a hello; others with the same hash are older
};

}  // namespace keyrail
