// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steer/steer.h"

#include <rte_mbuf.h>

#include <algorithm>

#include "dataplane/cookie/syn_cookie.h"
#include "dataplane/steer/decide.h"
#include "dataplane/tables/moved_table.h"

namespace keyrail::steer {
namespace {

/// Who has the sessions of all these hellos: one look-up for a burst, which prefetches its buckets.
void find_holders(std::span<PendingHello> hellos, const Context& context) {
    std::array<const SessionName*, kBurst> names;
    std::array<BladeId, kBurst> holders;
    std::array<PendingHello*, kBurst> named;
    size_t count = 0;
    for (PendingHello& hello : hellos) {
        hello.holder = home_of(hello.facts);
        if (hello.holder.blade == 0) continue;  // not ours, so nobody moved it either
        named[count] = &hello;
        names[count++] = &hello.facts.names[hello.holder.name];
    }
    if (count == 0) return;
    context.shared.moved->find(std::span(names).first(count), context.clock.unix_s, holders);
    for (size_t i = 0; i < count; i++) {
        if (holders[i] == 0) continue;
        named[i]->holder.blade = holders[i];
        named[i]->holder.moved = true;
    }
}

/// When its SYN-ACK left stands in the cookie's timestamp, in steps of 4 ms: what is sure of the round trip
/// since. Who connects, and says hello later, looks as if he were far away: that is believed so far.
uint32_t round_trip_us(const PendingHello& hello, const Burst& burst, const Context& context) {
    constexpr int32_t kLongestMs = 50, kStepMs = 1 << KR_COOKIE_CLOCK_SHIFT;
    if (hello.facts.bound != 0 || !context.service(hello.facts.service).late) return 0;  // no cookie of ours
    int64_t gathered_ms = 0;
    std::optional<int32_t> age_ms;
    if (hello.hold == kNone) {
        const Packet& packet = burst.packets[hello.packet];
        age_ms = Acknowledgement(packet.frame(), packet.h).age_ms(context.clock.tai_ms);
    } else {
        gathered_ms =
            static_cast<int64_t>(context.clock.us - context.holds_table.at(hello.hold).since_us) / 1000;
        context.holds_table.each(hello.hold, [&](const rte_mbuf* mbuf) {
            const std::span frame(rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->data_len);
            const Headers headers = parse_headers(frame);
            age_ms = Acknowledgement(frame, headers).age_ms(context.clock.tai_ms);
            return false;
        });
    }
    if (!age_ms) return 0;
    const int64_t sure_ms = *age_ms - kStepMs - gathered_ms;
    return static_cast<uint32_t>(std::clamp<int64_t>(sure_ms, 0, kLongestMs) * 1000);
}

/// A client that waits for its session longer than a full handshake takes is better off with that. Apart from
/// what is done for each hello, which would otherwise be compiled for this.
[[gnu::noinline, gnu::cold]] void weigh_wait(PendingHello& hello, const Burst& burst,
                                             const Context& context) {
    const Service& service = context.service(hello.facts.service);
    hello.wait.round_trip = round_trip_us(hello, burst, context);
    hello.wait.expected = context.shared.forecast.expected_us(service.id, hello.facts.tls_version);
    weigh(hello.wait, hello.facts, service);
    if (too_long(hello.wait))
        hello.decision = without_move(hello.decision, hello.facts, *context.snapshot, hello.holder);
}

}  // namespace

void process(Burst& burst, Context& context) {
    if (burst.hello_count == 0) return;
    context.names->decrypt(burst.pending(), *context.snapshot, context.stats);
    find_holders(burst.pending(), context);
    const bool control_up = context.shared.control_connected.load(std::memory_order_relaxed);
    for (PendingHello& hello : burst.pending()) {
        hello.decision = decide(hello.facts, *context.snapshot, hello.holder, control_up);
        if (hello.decision.move) [[unlikely]]
            weigh_wait(hello, burst, context);
    }
}

}  // namespace keyrail::steer
