// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/trace.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_ring_elem.h>

#include <bit>
#include <new>

namespace keyrail {
namespace {

Exit* field_of(rte_mbuf* mbuf, int field) { return RTE_MBUF_DYNFIELD(mbuf, field, Exit*); }

}  // namespace

Result<Trace> Trace::create() {
    const rte_mbuf_dynflag flag{.name = "keyrail_traced", .flags = 0};
    const rte_mbuf_dynfield field{
        .name = "keyrail_exit", .size = sizeof(Exit), .align = alignof(Exit), .flags = 0};
    const int bit = rte_mbuf_dynflag_register(&flag), offset = rte_mbuf_dynfield_register(&field);
    if (bit < 0 || offset < 0)
        return fail("no room in mbufs for the marks of traced packets: {}; a driver took it: leave it out",
                    rte_strerror(rte_errno));
    return Trace(uint64_t{1} << bit, offset);
}

Exit* Trace::traced(rte_mbuf* mbuf) const {
    return (mbuf->ol_flags & flag_) != 0 ? field_of(mbuf, field_) : nullptr;
}

void Trace::mark(rte_mbuf* mbuf, uint32_t packet) const {
    mbuf->ol_flags |= flag_;
    new (field_of(mbuf, field_)) Exit{.packet = packet, .blade = {}};
}

void Trace::unmark(rte_mbuf* mbuf) const { mbuf->ol_flags &= ~flag_; }

uint32_t Trace::number(rte_mbuf* mbuf) const {
    const Exit* exit = traced(mbuf);
    return exit != nullptr ? exit->packet : 0;
}

void Trace::begins(rte_mbuf* mbuf) const {
    if (Exit* exit = traced(mbuf); exit != nullptr) *exit = Exit{.packet = exit->packet, .blade = {}};
}

void Trace::decided(rte_mbuf* mbuf, Stage by, Action action, Reason reason, BladeId blade) const {
    Exit* exit = traced(mbuf);
    if (exit == nullptr) return;
    const bool known = exit->stage != Stage::none && exit->action == action && exit->reason == reason;
    if (!known) exit->stage = by;
    exit->action = action;
    exit->reason = reason;
    exit->blade = blade;
}

void Trace::left_hold(rte_mbuf* mbuf, BladeId blade) const {
    Exit* exit = traced(mbuf);
    if (exit == nullptr) return;
    exit->stage = at_work_;
    exit->blade = blade;
}

void Trace::stopped(rte_mbuf* mbuf, Stage by) const {
    if (Exit* exit = traced(mbuf); exit != nullptr) exit->stage = by;
}

void Trace::ends(rte_mbuf* mbuf, Action action, Reason reason) const {
    Exit* exit = traced(mbuf);
    if (exit == nullptr) return;
    exit->action = action;
    exit->reason = reason;
}

Exit Trace::exit(rte_mbuf* mbuf) const {
    const Exit* exit = traced(mbuf);
    return exit != nullptr ? *exit : Exit{};
}

void Trace::tell(Exit exit) {
    if (exit.stage == Stage::none) return;
    if (listener_ != nullptr) return listener_->ended(exit);
    if (told_ == nullptr || rte_ring_enqueue_elem(told_, &exit, sizeof exit) != 0) lost_++;
}

}  // namespace keyrail
