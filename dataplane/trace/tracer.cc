// SPDX-License-Identifier: Apache-2.0
#include "dataplane/trace/tracer.h"

#include <rte_mbuf.h>

#include <algorithm>
#include <ctime>

namespace keyrail {

namespace {

uint64_t unix_ns() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// The server name is not kept beside the facts of a hello: it is read once more, from where it still lies.
void read_server_name(const PendingHello& pending, const Burst& burst, Context& context,
                      trace::TracedHello& into) {
    const Service& service = context.service(pending.facts.service);
    const Bytes stream = pending.hold != kNone ? context.holds_table.assemble(pending.hold, context.stream)
                                               : burst.packets[pending.packet].payload();
    ClientHello hello;
    const HelloLimits limits{
        .bytes = service.hello_limit, .read_partial = true, .proxy_header = service.proxy_header};
    parse_client_hello(stream, context.scratch, limits, hello);
    const size_t size = std::min(hello.server_name.size(), into.server_name.size());
    std::copy_n(hello.server_name.begin(), size, into.server_name.begin());
    into.server_name_size = static_cast<uint8_t>(size);
}

}  // namespace

void Tracer::arrived(const Burst& burst, Context& context) {
    const uint64_t now = unix_ns();
    for (uint16_t i = 0; i < burst.count; i++) {
        const Packet& packet = burst.packets[i];
        const Headers headers = parse_headers(packet.frame());
        if (!filter_.wants(headers, context.ports.list[packet.port].role == PortRole::front)) {
            context.trace.unmark(packet.mbuf);
            continue;
        }
        const uint32_t number = context.trace.next_number();
        context.trace.mark(packet.mbuf, number);
        const auto captured = std::min(limits_->snap, packet.size);
        under_way_[number % kUnderWay] = {.exit = {.packet = number, .blade = {}},
                                          .arrived_ns = now,
                                          .port = packet.port,
                                          .size = packet.size,
                                          .captured = captured,
                                          .headers = headers,
                                          .hello = {}};
        std::copy_n(packet.data, captured,
                    frames_.begin() + static_cast<ptrdiff_t>(number % kUnderWay * limits_->snap));
    }
}

void Tracer::tell_hello(rte_mbuf* mbuf, const trace::TracedHello& hello, const Context& context) {
    if (trace::TracedPacket* record = record_of(context.trace.number(mbuf)); record != nullptr)
        record->hello = hello;
}

void Tracer::decided(Burst& burst, Context& context) {
    for (const PendingHello& pending : burst.pending()) {
        const HelloFacts& facts = pending.facts;
        trace::TracedHello hello{.known = true,
                                 .move = pending.decision.move,
                                 .moved = pending.holder.moved,
                                 .named = pending.holder.blade != 0,
                                 .tls_version = facts.tls_version,
                                 .holder = pending.holder.blade};
        if (facts.name_count != 0) hello.name = facts.names[hello.named ? pending.holder.name : 0];
        read_server_name(pending, burst, context, hello);
        if (pending.hold == kNone)
            tell_hello(burst.packets[pending.packet].mbuf, hello, context);
        else
            context.holds_table.each(pending.hold, [&](rte_mbuf* mbuf) {
                tell_hello(mbuf, hello, context);
                return true;
            });
    }
}

void Tracer::ended(const Exit& exit) {
    trace::TracedPacket* record = record_of(exit.packet);
    if (record == nullptr) return;  // of an earlier trace, or too many are under way
    record->exit = exit;
    if (!filter_.wants(exit, record->hello)) return;
    record->waited_us =
        static_cast<uint32_t>(std::min<uint64_t>((unix_ns() - record->arrived_ns) / 1000, UINT32_MAX));
    if (limits_->taken.fetch_add(1, std::memory_order_relaxed) >= limits_->packets) return;
    if (!ring_.put(*record, frames_.data() + exit.packet % kUnderWay * limits_->snap))
        lost_.fetch_add(1, std::memory_order_relaxed);
    record->exit.packet = 0;
}

}  // namespace keyrail
