// SPDX-License-Identifier: Apache-2.0
// Traced packets, and what became of each. A traced packet carries a DPDK dynamic flag, and its Exit in its
// mbuf: both go with it through holds and to other workers. While nobody traces no packet is looked at for
// it: the way out (rewrite/egress.h, io/tx.h) is compiled twice, and each burst takes one of the two.
#pragma once

#include <cstddef>
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

/// Who hears of each traced packet that ends, in the worker's own thread.
class ExitListener {
  public:
    virtual ~ExitListener() = default;
    virtual void ended(const Exit& exit) = 0;
};

class Trace {
  public:
    /// Takes a flag and a field of all mbufs; the same ones whenever it is called. Needs the EAL.
    static Result<Trace> create();

    [[nodiscard]] bool on() const { return on_; }
    /// From now on `ring` gets an Exit for each traced packet that ends. This worker is its only producer.
    /// nullptr: nobody is told.
    void tell_to(rte_ring* ring) {
        told_ = ring;
        on_ = told_ != nullptr || listener_ != nullptr;
    }
    /// The same without a ring, in place of it. nullptr: nobody.
    void tell_to(ExitListener* listener) {
        listener_ = listener;
        on_ = told_ != nullptr || listener_ != nullptr;
    }
    void tell_to(std::nullptr_t) {
        told_ = nullptr;
        listener_ = nullptr;
        on_ = false;
    }
    /// Exits that found no room in the ring.
    [[nodiscard]] uint64_t lost() const { return lost_; }

    /// From now on this packet is traced. A held packet can outlive a trace: the next trace needs numbers of
    /// its own.
    void mark(rte_mbuf* mbuf, uint32_t packet) const;
    void unmark(rte_mbuf* mbuf) const;
    /// A number that no packet of this worker was marked with before.
    uint32_t next_number() { return ++last_number_ != 0 ? last_number_ : ++last_number_; }
    /// That it was marked with; 0: it is not traced.
    [[nodiscard]] uint32_t number(rte_mbuf* mbuf) const;

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
    bool on_ = false;
    rte_ring* told_ = nullptr;
    ExitListener* listener_ = nullptr;
    uint64_t lost_ = 0;
    uint32_t last_number_ = 0;
};

}  // namespace keyrail
