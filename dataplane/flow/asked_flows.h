// SPDX-License-Identifier: Apache-2.0
// Connections that are not in the flow table, while the blades' agents are asked whose they are, and the
// packets that wait. Of a fixed size, for one worker: 512 connections, eight packets each. Pure: it never
// looks into an mbuf.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "dataplane/common/ids.h"
#include "dataplane/wire/seq.h"

struct rte_mbuf;

namespace keyrail {

class AskedFlows {
  public:
    static constexpr uint32_t kFlows = 512;
    static constexpr uint8_t kPackets = 8;
    /// How long a question may take, and how long its answer stands. Agents answer within a millisecond or
    /// two, but have taken more than 100 where a process had just been started. What the client sends again
    /// meanwhile waits as well.
    static constexpr uint64_t kWaitUs = 450'000, kStandsUs = 2'000'000;

    enum class State : uint8_t { free, waiting, found, nobody, unanswered };
    struct Asked {
        uint64_t hash = 0;  // of the flow
        uint64_t until_us = 0;
        uint32_t generation = 0;  // tells a late answer from the next user of the place
        State state = State::free;
        Seq seq;  // of its first packet here
        uint8_t packets = 0;
        std::array<rte_mbuf*, kPackets> mbufs{};

        [[nodiscard]] std::span<rte_mbuf* const> waiting() const { return std::span(mbufs).first(packets); }
    };

    /// What is known of this flow, or nullptr.
    [[nodiscard]] Asked* find(uint64_t hash, uint64_t now_us) {
        for (Asked& asked : set_of(hash))
            if (asked.state != State::free && asked.hash == hash && !over(asked, now_us)) return &asked;
        return nullptr;
    }
    /// Is it being asked whose this flow is?
    [[nodiscard]] bool waits_for(uint64_t hash, uint64_t now_us) {
        if (waiting_ == 0) return false;
        const Asked* asked = find(hash, now_us);
        return asked != nullptr && asked->state == State::waiting;
    }
    /// A place for a question; nullptr: there is none. An answer gives way to a question, the oldest first:
    /// without it a connection is asked about once more, without a place a question is not asked at all.
    Asked* open(uint64_t hash, Seq seq, uint64_t now_us) {
        const auto set = set_of(hash);
        const auto use = [&](const Asked& asked) {
            if (asked.state == State::waiting) return uint64_t{UINT64_MAX};
            const bool stands = asked.state == State::nobody || asked.state == State::unanswered;
            return stands && !over(asked, now_us) ? asked.until_us : 0;
        };
        Asked& asked = *std::ranges::min_element(set, {}, use);
        if (asked.state == State::waiting) return nullptr;
        asked = {.hash = hash,
                 .until_us = now_us + kWaitUs,
                 .generation = (asked.generation + 1) % FlowAskId::kGenerations,
                 .state = State::waiting,
                 .seq = seq};
        waiting_++;
        return &asked;
    }
    /// False: it has kPackets already.
    bool add(Asked& asked, rte_mbuf* mbuf) {
        if (asked.packets == kPackets) return false;
        asked.mbufs[asked.packets++] = mbuf;
        held_++;
        return true;
    }
    /// The question is over; the packets are the caller's. `state`: what came of it; free: nothing is known.
    std::span<rte_mbuf* const> close(Asked& asked, State state, uint64_t now_us) {
        asked.state = state;
        asked.until_us = now_us + kStandsUs;
        waiting_--;
        held_ -= asked.packets;
        const auto packets = asked.waiting();
        asked.packets = 0;
        return packets;
    }

    [[nodiscard]] uint32_t slot(const Asked& asked) const {
        return static_cast<uint32_t>(&asked - all_.data());
    }
    /// The question that this answers: it waits, or is unanswered, and what was guessed may be corrected.
    /// nullptr: it was too late for both.
    [[nodiscard]] Asked* at(uint32_t slot, uint32_t generation, uint64_t now_us) {
        if (slot >= kFlows) return nullptr;
        Asked& asked = all_[slot];
        const bool guessed = asked.state == State::unanswered && !over(asked, now_us);
        return (asked.state == State::waiting || guessed) && asked.generation == generation ? &asked
                                                                                            : nullptr;
    }
    /// A late answer: from now on it stands.
    void correct(Asked& asked, State state, uint64_t now_us) {
        asked.state = state;
        asked.until_us = now_us + kStandsUs;
    }
    /// One whose time is over, or nullptr. Looks every millisecond, and only while somebody waits.
    [[nodiscard]] Asked* late(uint64_t now_us) {
        constexpr uint64_t kLookUs = 1000;
        if (waiting_ == 0 || now_us < next_look_us_) return nullptr;
        for (Asked& asked : all_)
            if (asked.state == State::waiting && over(asked, now_us)) return &asked;
        next_look_us_ = now_us + kLookUs;
        return nullptr;
    }
    /// For the end of the worker.
    template <typename Take>
    void clear(Take take) {
        for (Asked& asked : all_) {
            if (asked.state != State::waiting) continue;
            for (rte_mbuf* mbuf : close(asked, State::free, 0)) take(mbuf);
        }
    }
    /// Packets that wait.
    [[nodiscard]] uint32_t held() const { return held_; }

  private:
    static constexpr size_t kWays = 4;
    [[nodiscard]] std::span<Asked> set_of(uint64_t hash) {
        return std::span(all_).subspan((hash >> 20) % (kFlows / kWays) * kWays, kWays);
    }
    static bool over(const Asked& asked, uint64_t now_us) { return now_us >= asked.until_us; }

    std::array<Asked, kFlows> all_{};
    uint32_t waiting_ = 0, held_ = 0;
    uint64_t next_look_us_ = 0;
};

}  // namespace keyrail
