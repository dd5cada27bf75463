// SPDX-License-Identifier: Apache-2.0
#include "dataplane/explain/shadow.h"

#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include <algorithm>
#include <cstring>

namespace keyrail::explain {
namespace {

constexpr size_t kBuckets = 16;
constexpr uint32_t kHolds = 4;

}  // namespace

Shadow::Shadow(const Shared& live, const Ports& ports, Pipeline pipeline)
    : live_(live),
      ports_(ports),
      pipeline_(pipeline),
      shared_(std::make_unique<Shared>()),
      buckets_(kBuckets),
      burst_(std::make_unique<Burst>()) {
    shared_->flow_hash_key = live.flow_hash_key;
    shared_->routes = live.routes;
    shared_->moved = live.moved;
}

Result<std::unique_ptr<Shadow>> Shadow::create(const Shared& live, const Ports& ports, Pipeline pipeline) {
    std::unique_ptr<Shadow> shadow(new Shadow(live, ports, pipeline));
    auto names = NameDecrypter::create();
    if (!names) return tl::make_unexpected(names.error());
    const auto trace = Trace::create();
    if (!trace) return tl::make_unexpected(trace.error());
    constexpr unsigned kRing = 8, kOneToOne = RING_F_SP_ENQ | RING_F_SC_DEQ;
    Shared& shared = *shadow->shared_;
    shared.asks[0] = create_ring("explain_asks", sizeof(MoveAsk), kRing, SOCKET_ID_ANY, kOneToOne);
    shadow->flow_asks_ = create_ring("explain_flow_asks", sizeof(FlowAsk), kRing, SOCKET_ID_ANY, kOneToOne);
    if (shared.asks[0] == nullptr || shadow->flow_asks_ == nullptr)
        return fail("no memory for what explains decisions; raise memory.megabytes in the profile");
    shadow->context_ = std::make_unique<Context>(uint16_t{0}, shared, ports, std::span(shadow->buckets_),
                                                 kHolds, uint32_t{kHoldSegments}, std::move(*names), *trace);
    shadow->context_->trace.tell_to(static_cast<ExitListener*>(shadow.get()));
    return shadow;
}

Shadow::~Shadow() {
    if (context_) clear();
    rte_ring_free(shared_->asks[0]);
    rte_ring_free(flow_asks_);
}

/// The control thread wrote all of it, and so may read it.
void Shadow::copy_shared(const Snapshot& snapshot) {
    Shared& mine = *shared_;
    for (size_t i = 0; i < std::size(mine.blade_hop); i++) mine.blade_hop[i].store(live_.blade_hop[i].load());
    mine.tag_stacks = live_.tag_stacks;
    for (size_t i = 0; i < mine.port_mtu.size(); i++) mine.port_mtu[i] = live_.port_mtu[i].load();
    mine.backplane_mtu = live_.backplane_mtu.load();
    mine.flow_asks[0] = live_.flow_asks[0] != nullptr ? flow_asks_ : nullptr;
    mine.control_connected = live_.control_connected.load();
    for (const Service& service : snapshot.services)
        for (const TlsVersion version : kTlsVersions)
            mine.forecast.set(service.id, tls_index(version),
                              live_.forecast.expected_us(service.id, version));
}

void Shadow::become(const Snapshot& snapshot, const Observed& seen, const Headers& connection) {
    copy_shared(snapshot);
    Context& me = *context_;
    me.snapshot = &snapshot;
    me.clock = seen.clock;
    me.mtus = seen.mtus;
    me.began_tai_ms = seen.began_tai_ms;
    me.alone_at_us = seen.alone_at_us;
    hash_ = hash(connection);
    if (seen.flow) me.flows.insert(hash_, *seen.flow);
    if (seen.recent_syn != 0) me.recent_syns.note(hash_, seen.recent_syn, me.clock.s);
    if (seen.bare_syn) me.bare_syns.note(hash_, 1, me.clock.s);
    const uint16_t service = me.service_at(connection.tuple);
    if (seen.many_guesses && service != kNoService)
        me.guesses.failed(me.service(service).id, KR_COOKIE_GUESSES_PER_S, me.clock.s);
}

std::optional<Outcome> Shadow::run(const std::vector<uint8_t>& frame) {
    const auto front = std::ranges::find(ports_.list, PortRole::front, &Port::role);
    rte_mbuf* const mbuf = rte_pktmbuf_alloc(ports_.pool);
    if (front == ports_.list.end() || mbuf == nullptr) return std::nullopt;
    auto* const data =
        reinterpret_cast<uint8_t*>(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())));
    if (data == nullptr) return rte_pktmbuf_free(mbuf), std::nullopt;
    std::memcpy(data, frame.data(), frame.size());
    mbuf->port = front->device;
    const uint32_t number = ++packets_;
    context_->trace.mark(mbuf, number);
    rte_mbuf_refcnt_update(mbuf, 1);  // what leaves is looked at
    burst_->count = 1;
    Packet& packet = burst_->packets[0];
    packet.mbuf = mbuf;
    packet.data = data;
    packet.size = mbuf->data_len;
    packet.port = static_cast<uint8_t>(front - ports_.list.begin());
    pipeline_(*burst_, *context_);
    Outcome outcome;
    if (burst_->hello_count != 0) outcome.hello = std::make_unique<PendingHello>(burst_->hellos[0]);
    context_->tx.forget();
    const auto* left = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    outcome.frame.assign(left, left + mbuf->data_len);
    rte_pktmbuf_free(mbuf);
    const auto told = std::ranges::find(exits_, number, &Exit::packet);
    if (told != exits_.end()) outcome.exit = *told;
    outcome.exit.packet = number;
    return outcome;
}

std::vector<MoveAsk> Shadow::asks() {
    std::vector<MoveAsk> all;
    MoveAsk ask;
    while (rte_ring_dequeue_elem(shared_->asks[0], &ask, sizeof ask) == 0) all.push_back(ask);
    return all;
}

void Shadow::clear() {
    Context& me = *context_;
    me.holds_table.clear([](rte_mbuf* mbuf, bool) { rte_pktmbuf_free(mbuf); });
    me.asked_flows.clear([](rte_mbuf* mbuf) { rte_pktmbuf_free(mbuf); });
    std::ranges::fill(buckets_, FlowTable::Bucket{});
    me.flows = FlowTable(std::span(buckets_));
    me.recent_syns.forget(hash_);
    me.bare_syns.forget(hash_);
    me.guesses = Guesses{};
    me.snapshot = nullptr;
    exits_.clear();
    asks();
    FlowAsk ask;
    while (rte_ring_dequeue_elem(flow_asks_, &ask, sizeof ask) == 0) {
    }
}

}  // namespace keyrail::explain
