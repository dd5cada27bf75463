// SPDX-License-Identifier: Apache-2.0
#include "tests/pipeline/harness.h"

#include <gtest/gtest.h>
#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <sys/mman.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include <algorithm>

#include "dataplane/bind/settle.h"
#include "dataplane/io/eal.h"
#include "dataplane/pipeline.h"
#include "dataplane/rewrite/egress.h"
#include "dataplane/tables/moved_table.h"
#include "link.pb.h"
#include "tests/support/hellos.h"

namespace keyrail::test {

Frame from_blade(const char* client) {
    return TcpSegment{.source = kVip4, .destination = client, .source_port = 443, .destination_port = 40000}
        .frame();
}
Frame cut_short() {
    Frame frame = TcpSegment{}.frame();
    frame.resize(40);
    return frame;
}
namespace {

constexpr unsigned kExits = 8192;

/// What outlives a test: EAL, the mbuf pool and the ring devices exist once per process.
struct Bench {
    rte_mempool* pool = nullptr;
    Ports ports;
    std::array<rte_ring*, kPorts> wires{}, kernels{};
    rte_ring *asks = nullptr, *answers = nullptr, *handoff = nullptr, *flow_ends = nullptr,
             *flow_asks = nullptr, *exits = nullptr;
    std::unique_ptr<Routes> routes;

    Bench() {
        Profile profile;
        profile.huge_pages = false;
        profile.memory_mb = 1024;  // not touched, not taken
        if (const auto started = start_eal(profile, "keyrail-test-" + std::to_string(getpid())); !started)
            throw std::runtime_error(started.error().message);
        pool = rte_pktmbuf_pool_create("pool", 4096, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        for (uint8_t i = 0; i < kPorts; i++) {
            const std::string name = std::array{"front", "back", "front2"}[i];
            const uint16_t wire = device(name + "-wire", wires[i]),
                           kernel = device(name + "-tap", kernels[i]);
            Port port{};
            port.name = name;
            port.role = i == kBack ? PortRole::back : PortRole::front;
            port.device = wire;
            port.kernel = kernel;
            port.mac = i == kFront ? kFrontMac : MacAddress{0x02, 0, 0, 0, 0, static_cast<uint8_t>(0xaf + i)};
            port.queues = port.tx_queues = port.kernel_queues = 1;
            ports.list.push_back(port);
        }
        ports.pool = pool;
        asks = create_ring("asks", sizeof(MoveAsk), 64, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        answers = create_ring("answers", sizeof(MoveAnswer), 64, SOCKET_ID_ANY, RING_F_SC_DEQ);
        handoff = rte_ring_create("handoff", 64, SOCKET_ID_ANY, RING_F_SC_DEQ);
        flow_asks =
            create_ring("flow_asks", sizeof(FlowAsk), 64, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        flow_ends = create_ring("flow_ends", sizeof(FlowEnd), 64, SOCKET_ID_ANY, RING_F_SC_DEQ);
        exits = create_ring("exits", sizeof(Exit), kExits, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        auto made = Routes::create(1024);
        if (!made) throw std::runtime_error(made.error().message);
        routes = std::move(*made);
        if (!routes->set4({htonl(0xc000020a)}, 32, NextHop(kClientMac, kFront)))
            throw std::runtime_error("route");
    }

    /// A device whose transmissions land in `out`; nothing is ever received from it.
    uint16_t device(const std::string& name, rte_ring*& out) {
        out = rte_ring_create((name + "-out").c_str(), 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        rte_ring* in =
            rte_ring_create((name + "-in").c_str(), 64, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
        const int id = rte_eth_from_rings(name.c_str(), &in, 1, &out, 1, SOCKET_ID_ANY);
        const rte_eth_conf conf{};
        const auto port = static_cast<uint16_t>(id);
        if (id < 0 || rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
            rte_eth_rx_queue_setup(port, 0, 64, SOCKET_ID_ANY, nullptr, pool) != 0 ||
            rte_eth_tx_queue_setup(port, 0, 64, SOCKET_ID_ANY, nullptr) != 0 || rte_eth_dev_start(port) != 0)
            throw std::runtime_error(name);
        return port;
    }

    static Bench& get() {
        static Bench bench;
        return bench;
    }
};

std::unique_ptr<FlowTable::Bucket[], void (*)(void*)> make_buckets(size_t count) {
    constexpr size_t kHugePage = 2u << 20;
    const size_t size = (count * sizeof(FlowTable::Bucket) + kHugePage - 1) / kHugePage * kHugePage;
    void* memory = std::aligned_alloc(kHugePage, size);
    if (memory == nullptr) throw std::bad_alloc();
    madvise(memory, size, MADV_HUGEPAGE);
    std::memset(memory, 0, size);
    return {static_cast<FlowTable::Bucket*>(memory), std::free};
}

}  // namespace

Harness::Harness(const Scene& scene)
    : ports_(Bench::get().ports),
      memory_(make_buckets(scene.flow_buckets)),
      buckets_(memory_.get(), scene.flow_buckets),
      burst_(new Burst),
      scene_(scene) {
    moved_ = std::move(MovedTable::create(std::max(1024u, 2 * scene.moved)).value());
    for (uint32_t i = 0; i < scene.moved; i++) {
        SessionName elsewhere{};
        const uint64_t number = (i + 1) * 0x9e3779b97f4a7c15;
        for (size_t at = 0; at < elsewhere.size(); at += sizeof number)
            std::memcpy(&elsewhere[at], &number, sizeof number);
        if (!moved_->set(elsewhere, 1, UINT32_MAX, 1)) throw std::bad_alloc();
    }
    shared_.workers = scene.workers;
    shared_.moved = moved_.get();
    shared_.routes = Bench::get().routes.get();
    shared_.asks[0] = Bench::get().asks;
    shared_.answers[0] = Bench::get().answers;
    shared_.handoff[1] = Bench::get().handoff;
    shared_.flow_ends[1] = Bench::get().flow_ends;
    if (scene.agents) shared_.flow_asks[0] = Bench::get().flow_asks;
    shared_.control_connected = scene.control_connected;
    for (uint16_t blade = 1; blade <= std::max<size_t>(8, scene.up.size()); blade++)
        shared_.blade_hop[blade].store(NextHop(blade_mac(blade), kBack));
    context_ = std::make_unique<Context>(uint16_t{0}, shared_, ports_, std::span(buckets_), scene.holds,
                                         scene.segments, std::move(NameDecrypter::create().value()),
                                         Trace::create().value());
    context_->clock = {.us = 10'000'000, .unix_s = 1'700'000'000, .tai_ms = 5};
    context_->clock.derive();
    set_blades(scene);
    if (getenv("KR_TRACED") == nullptr) return;
    trace();
    all_traced_ = true;
}

Harness::~Harness() {
    if (all_traced_) expect_all_told();
    context_->holds_table.clear([](rte_mbuf* mbuf, bool) { rte_pktmbuf_free(mbuf); });
    context_->asked_flows.clear([](rte_mbuf* mbuf) { rte_pktmbuf_free(mbuf); });
    flow_asks();
    for (const uint8_t port : {kFront, kBack, kFront2}) {
        wire(port);
        kernel(port);
    }
    asks();
    handed_over(1);
    flow_ends(1);
    EXPECT_EQ(mbufs_in_use(), 0u) << "mbufs leaked";
}

void Harness::set_blades(const Scene& scene) { publish(snapshot_of(scene)); }

void Harness::publish(const link::Snapshot& message) {
    auto built = Snapshot::build(message);
    ASSERT_TRUE(built) << built.error().message;
    snapshot_ = std::move(*built);
    shared_.snapshot = snapshot_.get();
    context_->snapshot = snapshot_.get();
}

void Harness::route_by_vlans(const std::string& client, const std::vector<uint16_t>& vlans) {
    const Frame tags = tagged(Frame(12), vlans);
    const auto index = static_cast<uint8_t>(vlans.size());
    TagStack& stack = shared_.tag_stacks[index];
    stack.size = static_cast<uint8_t>(tags.size() - 12);
    std::copy(tags.begin() + 12, tags.end(), stack.bytes.begin());
    in_addr to;
    std::memcpy(&to, &address(client)[12], sizeof to);
    ASSERT_TRUE(shared_.routes->set4(to, 32, NextHop(kClientMac, kFront, index)));
}

void Harness::load(uint8_t port, const std::vector<Frame>& frames) {
    if (frames.size() > kBurst) throw std::length_error("more than a burst");
    burst_->count = static_cast<uint16_t>(frames.size());
    for (uint16_t i = 0; i < frames.size(); i++) put(i, port, frames[i]);
    context_->stats.rx.add(frames.size());
}

void Harness::put(uint16_t place, uint8_t port, const Frame& frame) {
    rte_mbuf* mbuf = mbuf_of(port, frame);
    Packet& packet = burst_->packets[place];
    packet.mbuf = mbuf;
    packet.data = rte_pktmbuf_mtod(mbuf, uint8_t*);
    packet.size = mbuf->data_len;
    packet.port = ports_.index_of(mbuf->port);
}

rte_mbuf* Harness::mbuf_of(uint8_t port, const Frame& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(Bench::get().pool);
    if (mbuf == nullptr) throw std::bad_alloc();
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    mbuf->port = ports_.list[port].device;
    arrived_++;
    if (marked_ && marked_(arrived_)) context_->trace.mark(mbuf, arrived_);
    return mbuf;
}

void Harness::burst_from_kernel(uint8_t port, const std::vector<Frame>& frames) {
    std::vector<rte_mbuf*> mbufs;
    for (const Frame& frame : frames) mbufs.push_back(mbuf_of(port, frame));
    context_->stats.rx.add(frames.size());
    egress::from_kernel(port, mbufs, *context_);
    flush();
}

void Harness::mixed_burst(const std::vector<std::pair<uint8_t, Frame>>& frames) {
    if (frames.size() > kBurst) throw std::length_error("more than a burst");
    burst_->count = static_cast<uint16_t>(frames.size());
    for (uint16_t i = 0; i < frames.size(); i++) put(i, frames[i].first, frames[i].second);
    context_->stats.rx.add(frames.size());
    run_pipeline(*burst_, *context_);
    flush();
}

void Harness::burst(uint8_t port, const std::vector<Frame>& frames) {
    load(port, frames);
    run_pipeline(*burst_, *context_);
    take_answers();
    flush();
}

/// As a worker does after its bursts.
void Harness::take_answers() {
    MoveAnswer answer{};
    while (rte_ring_dequeue_elem(Bench::get().answers, &answer, sizeof answer) == 0)
        settle::move_answered(answer, *context_);
}

uint64_t Harness::timed_burst(uint8_t port, const std::vector<Frame>& frames) {
    load(port, frames);
    CALLGRIND_TOGGLE_COLLECT;
    const uint64_t start = rte_rdtsc_precise();
    run_pipeline(*burst_, *context_);
    context_->tx.flush();
    const uint64_t ticks = rte_rdtsc_precise() - start;
    CALLGRIND_TOGGLE_COLLECT;
    for (const auto& rings : {Bench::get().wires, Bench::get().kernels}) {
        for (rte_ring* ring : rings) {
            void* mbuf = nullptr;
            while (rte_ring_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
        }
    }
    return ticks;
}

void Harness::bind_flow(const Frame& frame, uint16_t blade) {
    const Headers h = parse_headers(frame);
    context_->flows.insert(context_->flow_hash(h), Flow(context_->clock.ticks, BladeId(blade), h.seq));
}

void Harness::forget_flows() {
    std::ranges::fill(buckets_, FlowTable::Bucket{});
    context_->flows = FlowTable(buckets_);
}

void Harness::advance(uint64_t us) {
    context_->clock.us += us;
    context_->clock.tai_ms += static_cast<uint32_t>(us / 1000);
    context_->clock.derive();
    run_timers(*burst_, *context_);
    flush();
}

std::vector<Frame> Harness::drain(rte_ring* ring) {
    std::vector<Frame> frames;
    void* item = nullptr;
    while (rte_ring_dequeue(ring, &item) == 0) {
        auto* mbuf = static_cast<rte_mbuf*>(item);
        const auto* data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
        frames.emplace_back(data, data + mbuf->data_len);
        rte_pktmbuf_free(mbuf);
    }
    return frames;
}

std::vector<Frame> Harness::wire(uint8_t port) { return drain(Bench::get().wires[port]); }
std::vector<Frame> Harness::kernel(uint8_t port) { return drain(Bench::get().kernels[port]); }
std::vector<Frame> Harness::handed_over(uint16_t worker) {
    return worker == 1 ? drain(Bench::get().handoff) : std::vector<Frame>{};
}

std::vector<FlowEnd> Harness::flow_ends(uint16_t worker) {
    std::vector<FlowEnd> all;
    FlowEnd end;
    while (worker == 1 && rte_ring_dequeue_elem(Bench::get().flow_ends, &end, sizeof end) == 0)
        all.push_back(end);
    return all;
}

std::vector<MoveAsk> Harness::asks() {
    std::vector<MoveAsk> all;
    MoveAsk ask;
    while (rte_ring_dequeue_elem(Bench::get().asks, &ask, sizeof ask) == 0) all.push_back(ask);
    return all;
}

void Harness::answer(const MoveAsk& ask, bool moved) {
    if (moved) moved_->set(ask.name, ask.to, context_->clock.unix_s + 100, context_->clock.unix_s);
    settle::move_answered({ask.move_id, moved ? ask.to : BladeId{}, moved, {}}, *context_);
    flush();
}

std::vector<FlowAsk> Harness::flow_asks() {
    std::vector<FlowAsk> all;
    FlowAsk ask;
    while (rte_ring_dequeue_elem(Bench::get().flow_asks, &ask, sizeof ask) == 0) all.push_back(ask);
    return all;
}

void Harness::answer(const FlowAsk& ask, uint16_t blade, bool time_wait) {
    take_answer({ask.ask_id, BladeId(blade), time_wait, {}}, *burst_, *context_);
    flush();
}

void Harness::answer_elsewhere(const MoveAsk& ask, uint16_t holder) {
    moved_->set(ask.name, BladeId(holder), context_->clock.unix_s + 100, context_->clock.unix_s);
    settle::move_answered({ask.move_id, BladeId(holder), 1, {}}, *context_);
    flush();
}

void Harness::flush() {
    context_->tx.flush();
    if (!all_traced_) return;
    for (const Exit& exit : exits()) {
        told_.reasons[static_cast<size_t>(exit.reason)]++;
        told_.actions[static_cast<size_t>(exit.action)]++;
        EXPECT_TRUE(told_.packets.insert(exit.packet).second) << "told twice: packet " << exit.packet;
    }
}

void Harness::trace(std::function<bool(uint32_t)> marked) {
    all_traced_ = false;
    marked_ = std::move(marked);
    context_->trace.tell_to(Bench::get().exits);
}

std::vector<Exit> Harness::exits() {
    std::vector<Exit> all;
    Exit exit;
    while (rte_ring_dequeue_elem(Bench::get().exits, &exit, sizeof exit) == 0) all.push_back(exit);
    return all;
}

void Harness::expect_all_told() const {
    const WorkerStats& stats = context_->stats;
    const auto told = [&](Action action) { return told_.actions[static_cast<size_t>(action)]; };
    uint64_t drops = 0;
    const bool full = count(Reason::drop_tx_full) + count(Reason::drop_punt_full) != 0;
    for (size_t i = 0; i < kReasons; i++) {
        const auto reason = static_cast<Reason>(i);
        if (is_drop(reason)) drops += count(reason);
        if (is_drop(reason) || !full) {  // what a full device does not take is counted as sent before
            EXPECT_EQ(told_.reasons[i], count(reason)) << kReasonTexts[i].name;
        }
    }
    EXPECT_EQ(told(Action::forward) + told(Action::reply), stats.tx.get());
    EXPECT_EQ(told(Action::punt), stats.punt.get());
    EXPECT_EQ(told(Action::drop), drops);
    EXPECT_EQ(told(Action::handoff), count(Reason::handed_over));
    EXPECT_EQ(told(Action::hold), 0u);
    EXPECT_EQ(told_.packets.size() + held(), stats.rx.get());
    EXPECT_EQ(context_->trace.lost(), 0u);
}

uint64_t Harness::count(Reason reason) const {
    return context_->stats.reasons[static_cast<size_t>(reason)].get();
}
unsigned Harness::mbufs_in_use() { return rte_mempool_in_use_count(Bench::get().pool); }
uint64_t Harness::held() const {
    return context_->holds_table.held_segments() + context_->asked_flows.held();
}

void Harness::expect_conserved() const {
    const WorkerStats& stats = context_->stats;
    uint64_t out = stats.tx.get() + stats.punt.get() + held() + count(Reason::handed_over);
    for (size_t i = 0; i < kReasons; i++)
        if (is_drop(static_cast<Reason>(i))) out += stats.reasons[i].get();
    EXPECT_EQ(stats.rx.get(), out);
}

}  // namespace keyrail::test
