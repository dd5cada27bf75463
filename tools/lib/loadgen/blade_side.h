// SPDX-License-Identifier: Apache-2.0
// All blades: takes clients' connections as a blade's kernel and server do, answers from the script, and
// checks that each came to the right blade, whole and in order. No timers: who misses an answer asks again.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/lib/loadgen/numbering.h"
#include "tools/lib/loadgen/options.h"
#include "tools/lib/loadgen/port.h"
#include "tools/lib/loadgen/report.h"
#include "tools/lib/loadgen/script.h"

namespace keyrail::loadgen {

class BladeSide {
  public:
    BladeSide(const Options& options, const Script& script, Port& port, Report& report);

    /// Takes what has come. True: there was something.
    bool poll(const Clock& clock);

  private:
    struct Slot {
        Blade conversation;
        uint16_t blade = 0;
        bool greeted = false;  // `hello` is known
        uint32_t hello = 0;
        uint64_t number = 0;
    };

    void receive(rte_mbuf* frame, const Clock& clock);
    Slot* slot_of(const Received& received);
    /// The client's first bytes. False: they are no ClientHello of ours, and counted.
    bool greet(Slot& slot, const Received& received);
    [[nodiscard]] bool as_sent(const Slot& slot, const Received& received) const;
    void check(const Slot& slot, Event event);
    void answer(const Slot& slot, Say what, const Received& to, rte_mbuf* frame, const Clock& clock);

    const Options& options_;
    const Script& script_;
    Port& port_;
    Report& report_;
    const Numbering numbering_;
    std::vector<Slot> slots_;
    uint64_t slot_mask_;
    std::vector<uint16_t> expected_;  // by hello; 0: any
};

}  // namespace keyrail::loadgen
