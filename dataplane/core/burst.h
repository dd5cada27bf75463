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
};

/// The first segment of a ClientHello in two, as clients send it today, one right behind the other. Mostly
/// both are in one burst, and nothing has to be held.
struct HalfHello {
    uint64_t hash;
    uint32_t packet;  // index into Burst::packets; kNone: not a half any more
    uint32_t wanted;  // stream bytes of the whole
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
        if ((std::exchange(hello_count, uint16_t{0}) | std::exchange(half_count_, uint16_t{0})) != 0)
            newest_.fill(0);
    }
    /// Is there, or was there, a hello of this connection, or half of one?
    [[nodiscard]] bool knows(uint64_t hash) const {
        for (unsigned i = newest_[hash % newest_.size()]; i != 0; i = older_[i - 1])
            if ((i <= kBurst ? hellos[i - 1].facts.hash : halves_[i - 1 - kBurst].hash) == hash) return true;
        return false;
    }

    /// A new one, to be filled in where it lies: copies of it would be a tenth of its cost.
    PendingHello& add_hello(uint64_t hash) {
        PendingHello& hello = *new (&hellos[hello_count]) PendingHello;
        hello.facts.hash = hash;
        enter(hash, hello_count++);
        return hello;
    }
    /// The hello of this connection that lies in a packet of this burst, or kNone.
    [[nodiscard]] uint32_t hello_in_packet(uint64_t hash) const {
        for (unsigned i = newest_[hash % newest_.size()]; i != 0; i = older_[i - 1])
            if (i <= kBurst && hellos[i - 1].facts.hash == hash && hellos[i - 1].packet != kNone)
                return i - 1;
        return kNone;
    }

    /// One for each packet, at most.
    void add_half(const Packet& first, uint32_t wanted) {
        halves_[half_count_] = {first.hash, static_cast<uint32_t>(&first - packets.data()), wanted};
        enter(first.hash, kBurst + half_count_++);
    }
    [[nodiscard]] std::span<HalfHello> halves() { return {halves_.data(), half_count_}; }
    /// That of this connection, or nullptr.
    [[nodiscard]] HalfHello* half_of(uint64_t hash) {
        for (unsigned i = newest_[hash % newest_.size()]; i != 0; i = older_[i - 1]) {
            if (i <= kBurst) continue;
            HalfHello& half = halves_[i - 1 - kBurst];
            if (half.packet != kNone && half.hash == hash) return &half;
        }
        return nullptr;
    }

  private:
    /// Hellos are numbered from 0, halves from kBurst.
    void enter(uint64_t hash, unsigned number) {
        older_[number] = std::exchange(newest_[hash % newest_.size()], static_cast<uint8_t>(number + 1));
    }

    std::array<uint8_t, 128> newest_{};  // by hash: number + 1; others with the same part of it are older
    std::array<uint8_t, 2 * kBurst> older_;
    std::array<HalfHello, kBurst> halves_;
    uint16_t half_count_ = 0;
};

}  // namespace keyrail
