// SPDX-License-Identifier: Apache-2.0
// All clients: starts connections, keeps them going, says things again when no answer comes, and takes the
// time.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/lib/loadgen/numbering.h"
#include "tools/lib/loadgen/options.h"
#include "tools/lib/loadgen/port.h"
#include "tools/lib/loadgen/report.h"
#include "tools/lib/loadgen/script.h"

namespace keyrail::loadgen {

class ClientSide {
  public:
    /// Ticks of the TSC: connections that are meant to start in [from, to) are measured.
    struct Window {
        uint64_t from = 0, to = 0;
        [[nodiscard]] bool has(uint64_t tsc) const { return tsc >= from && tsc < to; }
    };

    ClientSide(const Options& options, const Script& script, Port& port, rte_mempool* pool, Report& report,
               const Window& window);

    /// Takes what has come. True: there was something.
    bool poll(const Clock& clock);
    [[nodiscard]] bool can_start() const { return !free_.empty() && port_.room(); }
    /// `due`: when it was meant to start. Only when can_start().
    void start(uint64_t due, const Clock& clock);
    /// Looks at some connections for whether their time is up.
    void sweep(const Clock& clock);
    /// Those that are not at their end are counted as unfinished.
    void stop();

    [[nodiscard]] bool idle() const { return free_.size() == slots_.size(); }
    /// Of connections that ended since the last call, in ns.
    Histogram take_lives();

  private:
    struct alignas(64) Slot {
        Client client;
        uint32_t hello = 0;
        uint64_t number = 0;
        uint64_t due = 0, deadline = 0;  // TSC
        uint32_t tries = 0;
    };

    void receive(rte_mbuf* frame, const Clock& clock);
    Slot* slot_of(const Received& received);
    /// The nth segment of it, in this mbuf.
    void say(Slot& slot, Say what, rte_mbuf* into, const Clock& clock, size_t nth = 0);
    /// All of it, in mbufs of its own.
    void say_anew(Slot& slot, Say what, const Clock& clock);
    void arm(Slot& slot, const Clock& clock);
    void happened(Slot& slot, Event event, const Clock& clock);
    void time_up(Slot& slot, const Clock& clock);
    void complete(Slot& slot, const Clock& clock);
    void fail(Slot& slot, Failure failure);
    void release(Slot& slot);
    [[nodiscard]] uint64_t ns(uint64_t ticks) const {
        return static_cast<uint64_t>(static_cast<double>(ticks) * ns_per_tick_);
    }

    const Options& options_;
    const Script& script_;
    Port& port_;
    rte_mempool* pool_;
    Report& report_;
    const Window& window_;
    const Numbering numbering_;
    const double ns_per_tick_;
    const uint64_t timeout_ticks_;
    std::vector<Slot> slots_;
    std::vector<uint32_t> free_;
    uint64_t slot_mask_;
    uint32_t next_hello_ = 0;
    size_t swept_ = 0;
    Histogram lives_;
};

}  // namespace keyrail::loadgen
