// SPDX-License-Identifier: Apache-2.0
// Traced packets, and what became of each. A traced packet carries a DPDK dynamic flag, and its Exit in its
// mbuf: both go with it through holds and to other workers. While nobody traces no packet is looked at for
// it: the way out (rewrite/egress.h, io/tx.h) is compiled twice, and each burst takes one of the two.
#pragma once

#include <cstdint>

#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"
#include "dataplane/common/verdict.h"

struct rte_mbuf;
struct rte_ring;

namespace keyrail {

/// Is anybody told of traced packets?
enum class Tracing : bool { off, on };

/// Where a packet's end was decided. `settle` carries out what `steer` decides. What is taken out of a hold
/// is counted to the stage that takes it.
enum class Stage : uint8_t { none, parse, bind, settle, egress, tx };

/// What became of a traced packet.
struct Exit {
    uint32_t packet = 0;  // the number that it was marked with
    Stage stage = Stage::none;
    Action action = Action::hold;
    Reason reason = Reason::count;
    uint8_t unused = 0;
    BladeId blade;  // that it was sent to, or should have been; 0: none
    uint16_t unused2 = 0;
};
static_assert(sizeof(Exit) % 4 == 0);  // an element of a ring

class Trace {
  public:
    /// Takes a flag and a field of all mbufs; the same ones whenever it is called. Needs the EAL.
    static Result<Trace> create();

    [[nodiscard]] bool on() const { return told_ != nullptr; }
    /// From now on `ring` gets an Exit for each traced packet that ends. This worker is its only producer.
    /// nullptr: nobody is told.
    void tell_to(rte_ring* ring) { told_ = ring; }
    /// Exits that found no room in the ring.
    [[nodiscard]] uint64_t lost() const { return lost_; }

    /// From now on this packet is traced. A held packet can outlive a trace: the next trace needs numbers of
    /// its own.
    void mark(rte_mbuf* mbuf, uint32_t packet) const;

    /// The stage that is at work, for what leaves holds.
    void at_work(Stage stage) { at_work_ = stage; }
    // All of these do nothing for a packet that is not traced.
    void begins(rte_mbuf* mbuf) const;  // its way through the stages, perhaps not for the first time
    /// `by` has decided this, unless it is what an earlier stage had decided already.
    void decided(rte_mbuf* mbuf, Stage by, Action action, Reason reason, BladeId blade) const;
    void left_hold(rte_mbuf* mbuf, BladeId blade) const;
    /// It does not end as was decided: `by` found that it cannot.
    void stopped(rte_mbuf* mbuf, Stage by) const;
    void ends(rte_mbuf* mbuf, Action action, Reason reason) const;
    /// Its Exit so far. Stage::none: it is not traced.
    [[nodiscard]] Exit exit(rte_mbuf* mbuf) const;

    void tell(Exit exit);

  private:
    Trace(uint64_t flag, int field) : flag_(flag), field_(field) {}
    [[nodiscard]] Exit* traced(rte_mbuf* mbuf) const;  // nullptr: it is not

    uint64_t flag_;
    int field_;
    Stage at_work_ = Stage::none;
    rte_ring* told_ = nullptr;
    uint64_t lost_ = 0;
};

}  // namespace keyrail
