// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker.h"

#include <poll.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_pause.h>
#include <rte_prefetch.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "dataplane/bind/settle.h"
#include "dataplane/common/urgency.h"
#include "dataplane/parse/blade_ends.h"
#include "dataplane/pipeline.h"
#include "dataplane/rewrite/egress.h"

namespace keyrail {
namespace {

/// A quarter of all mbufs may wait in holds; the rest belongs to the ports.
uint32_t segments_for(const Profile& profile) { return profile.mbufs / 4 / profile.workers; }

uint64_t nanoseconds(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);  // vDSO: no system call
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

/// Does not nap while there is work; the longer there was none, the longer the naps. For machines that have
/// other work, too: 100 us between bursts is less than a client on the same switch notices. An idle
/// dispatcher polls a thousand times a second (100 us naps took 17 % of a core, 500 us naps 5.6 %).
/// The answer to a move ends a nap: its client has waited long enough.
class Idleness {
  public:
    Idleness(PollMode mode, bool urgent, const Shared& shared, unsigned thread)
        : adaptive_(mode == PollMode::adaptive),
          rcu_(shared.rcu),
          thread_(thread),
          wake_(shared.wake_worker[thread]) {
        if (adaptive_ && urgent) urgency_.emplace(kUrgentShare);
    }

    /// `soon`: the answer to a move comes in a moment. Whoever makes it may need this core, and an urgent
    /// worker keeps it from everybody else until it yields or sleeps.
    void after_loop(bool worked, bool soon) {
        idle_loops_ = worked ? 0 : idle_loops_ + 1;
        if (urgency_ && ++loops_ % kLoopsPerLook == 0) urgency_->look();
        if (!adaptive_) return worked ? void() : rte_pause();
        if (worked && !(urgency_ && urgency_->urgent())) return;
        if (worked || soon || idle_loops_ < kSpins) return static_cast<void>(sched_yield());
        const long short_nap = std::min(kShortNapMax, (idle_loops_ - kSpins + 1) * kShortNapStep);
        const timespec nap{0, idle_loops_ < kQuietLoops ? short_nap : kLongNap};
        rte_rcu_qsbr_thread_offline(rcu_, thread_);  // RCU does not wait for a worker that sleeps
        pollfd answers{wake_, POLLIN, 0};
        uint64_t count = 0;
        if (ppoll(&answers, 1, &nap, nullptr) > 0 && read(wake_, &count, sizeof count) > 0) idle_loops_ = 0;
        rte_rcu_qsbr_thread_online(rcu_, thread_);
        if (urgency_) urgency_->look();
    }

  private:
    static constexpr long kSpins = 32, kQuietLoops = 300;  // 300 loops: about 30 ms without a packet
    static constexpr long kShortNapStep = 5'000, kShortNapMax = 100'000, kLongNap = 1'000'000;  // ns
    /// Half a CPU: a worker that naps shares its core with what it serves.
    static constexpr double kUrgentShare = 0.5;
    static constexpr uint32_t kLoopsPerLook = 256;
    const bool adaptive_;
    rte_rcu_qsbr* rcu_;
    const unsigned thread_;
    const int wake_;
    std::optional<Urgency> urgency_;
    uint32_t loops_ = 0;
    long idle_loops_ = 0;
};

}  // namespace

struct Worker::Impl {
    std::unique_ptr<Context> context;
    PollMode poll = PollMode::busy;
    bool urgent = false;
    static constexpr uint64_t kSoonUs = 400;
    uint64_t soon_until_us = 0;  // a move was asked for: its answer is looked for, without naps
    uint64_t tsc_per_us = 1;
    uint64_t wall_us = 0;  // when the wall clocks were read
    uint64_t turn_us = 0;  // when this turn began
    bool worked = false;   // the turn before had packets
    Burst burst;

    ~Impl() {
        if (context) {
            context->holds_table.clear([](rte_mbuf* mbuf, bool) { rte_pktmbuf_free(mbuf); });
            context->asked_flows.clear([](rte_mbuf* mbuf) { rte_pktmbuf_free(mbuf); });
        }
    }

    void read_clocks() {
        Clock& clock = context->clock;
        clock.us = rte_rdtsc() / tsc_per_us;
        clock.derive();
        constexpr uint64_t kFresh = 250;  // nobody needs more than milliseconds
        if (clock.us - wall_us < kFresh && wall_us != 0) return;
        wall_us = clock.us;
        clock.unix_s = static_cast<uint32_t>(nanoseconds(CLOCK_REALTIME_COARSE) / 1'000'000'000);
        clock.tai_ms = static_cast<uint32_t>(nanoseconds(CLOCK_TAI) / 1'000'000);
        context->mtus.read(context->shared);
    }

    /// Stage `rx`, second half: the mbufs of one burst, their data on its way into the cache.
    /// `port_of(mbuf)`: where each came from.
    template <typename PortOf>
    void process(rte_mbuf* const* mbufs, uint16_t count, PortOf port_of) {
        burst.count = count;
        for (uint16_t i = 0; i < count; i++) {
            Packet& packet = burst.packets[i];
            packet.mbuf = mbufs[i];
            packet.data = rte_pktmbuf_mtod(mbufs[i], uint8_t*);
            packet.size = mbufs[i]->data_len;
            packet.port = port_of(*mbufs[i]);
            rte_prefetch0(packet.data);
        }
        run_pipeline(burst, *context);
    }

    bool poll_wire(uint8_t port) {
        const Port& wire = context->ports.list[port];
        if (context->worker >= wire.queues) return false;  // others hand over to it what it works on
        std::array<rte_mbuf*, kBurst> mbufs;
        const uint16_t count = rte_eth_rx_burst(wire.device, context->worker, mbufs.data(), kBurst);
        if (count == 0) return false;
        context->stats.rx.add(count);
        process(mbufs.data(), count, [port](const rte_mbuf&) { return port; });
        return true;
    }

    bool poll_kernel(uint8_t port) {
        const Port& wire = context->ports.list[port];
        if (context->worker >= wire.kernel_queues) return false;
        std::array<rte_mbuf*, kBurst> mbufs;
        const uint16_t count = rte_eth_rx_burst(wire.kernel, context->worker, mbufs.data(), kBurst);
        if (count == 0) return false;
        context->stats.rx.add(count);
        egress::from_kernel(port, std::span(mbufs).first(count), *context);
        return true;
    }

    /// Packets of our flows that another worker received. Only front ports hand over.
    bool poll_handoff() {
        rte_ring* ring = context->shared.handoff[context->worker];
        if (ring == nullptr) return false;
        std::array<rte_mbuf*, kBurst> mbufs;
        const unsigned count =
            rte_ring_dequeue_burst(ring, reinterpret_cast<void**>(mbufs.data()), kBurst, nullptr);
        if (count == 0) return false;
        process(mbufs.data(), static_cast<uint16_t>(count),
                [this](const rte_mbuf& mbuf) { return context->ports.index_of(mbuf.port); });
        return true;
    }

    bool poll_answers() {
        MoveAnswer answer;
        bool any = false;
        rte_ring* ring = context->shared.answers[context->worker];
        while (rte_ring_dequeue_elem(ring, &answer, sizeof answer) == 0) {
            settle::move_answered(answer, *context);
            soon_until_us = 0;
            any = true;
        }
        return any;
    }

    void poll_flow_answers() {
        rte_ring* ring = context->shared.flow_answers[context->worker];
        FlowAnswer answer;
        while (ring != nullptr && rte_ring_dequeue_elem(ring, &answer, sizeof answer) == 0)
            take_answer(answer, burst, *context);
    }

    /// Ends of our flows that other workers have seen.
    void poll_flow_ends() {
        rte_ring* ring = context->shared.flow_ends[context->worker];
        FlowEnd end;
        for (int i = 0; ring != nullptr && i < kBurst && rte_ring_dequeue_elem(ring, &end, sizeof end) == 0;
             i++)
            parse::flow_ended(end, *context);
    }

    void end_loop() {
        context->tx.flush();
        WorkerStats& stats = context->stats;
        stats.held.set(context->holds_table.held_segments() + context->asked_flows.held());
        stats.holds.set(context->holds_table.in_use());
        stats.flows.set(context->flows.size());
        stats.turns.add();
        if (!context->wake_control) return;
        context->wake_control = false;
        soon_until_us = context->clock.us + kSoonUs;
        const uint64_t one = 1;
        // Only when a move was asked for: not a cost of packets. A full counter is as good as a write.
        [[maybe_unused]] const ssize_t written = write(context->shared.wake_control, &one, sizeof one);
    }

    /// One turn. True when there was anything to do.
    bool loop() {
        context->snapshot = context->shared.snapshot.load(std::memory_order_acquire);
        read_clocks();
        if (worked) context->stats.busy_us.add(context->clock.us - turn_us);
        turn_us = context->clock.us;
        worked = false;
        for (uint8_t port = 0; port < context->ports.list.size(); port++) {
            worked |= poll_wire(port);
            worked |= poll_kernel(port);
        }
        worked |= poll_handoff();
        worked |= poll_answers();
        poll_flow_ends();
        poll_flow_answers();
        if (context->snapshot != nullptr) run_timers(burst, *context);
        end_loop();
        return worked;
    }
};

Worker::Worker() : impl_(std::make_unique<Impl>()) {}
Worker::~Worker() = default;

Result<std::unique_ptr<Worker>> Worker::create(uint16_t index, const Profile& profile, const Ports& ports,
                                               const FlowMemory& flows, Shared& shared) {
    for (const Port& port : ports.list)
        if (index >= port.tx_queues || index >= port.kernel_queues)
            return fail("port {}: {} transmit queues are too few for {} workers; lower worker.count in {}",
                        port.name, std::min(port.tx_queues, port.kernel_queues), profile.workers,
                        profile.file.string());
    auto names = NameDecrypter::create();
    if (!names) return tl::make_unexpected(names.error());
    const auto trace = Trace::create();
    if (!trace) return tl::make_unexpected(trace.error());
    std::unique_ptr<Worker> worker(new Worker);
    Impl& impl = *worker->impl_;
    impl.context = std::make_unique<Context>(index, shared, ports, flows.buckets(index), profile.holds,
                                             segments_for(profile), std::move(*names), *trace);
    impl.poll = profile.poll;
    impl.urgent = profile.urgent;
    impl.context->flows.count();
    impl.tsc_per_us = flows.tsc_per_us();
    impl.read_clocks();
    if (!flows.begun_anew().empty()) impl.context->begin_anew();
    return worker;
}

void Worker::run() {
    Shared& shared = impl_->context->shared;
    prctl(PR_SET_TIMERSLACK, 1000);  // naps of 5 us, not of 55
    rte_rcu_qsbr_thread_register(shared.rcu, impl_->context->worker);
    rte_rcu_qsbr_thread_online(shared.rcu, impl_->context->worker);
    Idleness idleness(impl_->poll, impl_->urgent, shared, impl_->context->worker);
    while (!shared.stop.load(std::memory_order_relaxed)) {
        const bool worked = impl_->loop();
        rte_rcu_qsbr_quiescent(shared.rcu, impl_->context->worker);
        idleness.after_loop(worked, impl_->context->clock.us < impl_->soon_until_us);
    }
    rte_rcu_qsbr_thread_offline(shared.rcu, impl_->context->worker);
    rte_rcu_qsbr_thread_unregister(shared.rcu, impl_->context->worker);
}

const WorkerStats& Worker::stats() const { return impl_->context->stats; }

}  // namespace keyrail
