// SPDX-License-Identifier: Apache-2.0
// Two real workers, each on its own thread, and ports without RSS: one worker receives everything, and hands
// over what belongs to the other one.
#include <gtest/gtest.h>
#include <rte_cycles.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <map>
#include <thread>

#include "dataplane/tables/moved_table.h"
#include "dataplane/worker.h"
#include "link.pb.h"
#include "tests/pipeline/harness.h"

namespace keyrail {
namespace {

using namespace test;

constexpr uint16_t kWorkers = 2;

/// A device with one receive queue, and a transmit queue for each worker.
struct Wire {
    rte_ring* in = nullptr;
    std::array<rte_ring*, kWorkers> out{};
    uint16_t device = 0;
    rte_mempool* pool = nullptr;

    Wire(const std::string& name, uint16_t rx_queues, rte_mempool* mbufs) : pool(mbufs) {
        std::array<rte_ring*, kWorkers> ins{};
        for (uint16_t i = 0; i < rx_queues; i++) ins[i] = ring(name + "-in" + std::to_string(i));
        for (uint16_t i = 0; i < kWorkers; i++) out[i] = ring(name + "-out" + std::to_string(i));
        in = ins[0];
        const int id =
            rte_eth_from_rings(name.c_str(), ins.data(), rx_queues, out.data(), kWorkers, SOCKET_ID_ANY);
        const rte_eth_conf conf{};
        device = static_cast<uint16_t>(id);
        bool good = id >= 0 && rte_eth_dev_configure(device, rx_queues, kWorkers, &conf) == 0;
        for (uint16_t i = 0; i < rx_queues; i++)
            good = good && rte_eth_rx_queue_setup(device, i, 64, SOCKET_ID_ANY, nullptr, pool) == 0;
        for (uint16_t i = 0; i < kWorkers; i++)
            good = good && rte_eth_tx_queue_setup(device, i, 64, SOCKET_ID_ANY, nullptr) == 0;
        if (!good || rte_eth_dev_start(device) != 0) throw std::runtime_error(name);
    }
    static rte_ring* ring(const std::string& name) {
        return rte_ring_create(name.c_str(), 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    }
    void receive(const Frame& frame) const {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
        ASSERT_NE(mbuf, nullptr);
        std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(),
                    frame.size());
        mbuf->port = device;  // as drivers do
        ASSERT_EQ(rte_ring_enqueue(in, mbuf), 0);
    }
    [[nodiscard]] std::vector<Frame> sent() const {
        std::vector<Frame> frames;
        for (rte_ring* queue : out) {
            void* taken = nullptr;
            while (rte_ring_dequeue(queue, &taken) == 0) {
                auto* mbuf = static_cast<rte_mbuf*>(taken);
                const auto* data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
                frames.emplace_back(data, data + mbuf->data_len);
                rte_pktmbuf_free(mbuf);
            }
        }
        return frames;
    }
};

/// Two front ports, a back port, and the workers.
class TwoWorkers : public testing::Test {
  protected:
    TwoWorkers() {
        for (size_t i = 0; i < wires.size(); i++) {
            const std::string name = tag_ + std::array{"front", "back", "front2"}[i];
            wires[i] = std::make_unique<Wire>(name, 1, pool_);
            kernels[i] = std::make_unique<Wire>(name + "-tap", kWorkers, pool_);
            Port port{};
            port.name = name;
            port.role = i == kBack ? PortRole::back : PortRole::front;
            port.device = wires[i]->device;
            port.kernel = kernels[i]->device;
            port.mac = kFrontMac;
            port.queues = 1;
            port.tx_queues = port.kernel_queues = kWorkers;
            ports_.list.push_back(port);
        }
        ports_.pool = pool_;
        shared_.workers = kWorkers;
        shared_.routes = environment_.context().shared.routes;
        shared_.moved = &environment_.moved();
        for (uint16_t blade = 1; blade <= 3; blade++)
            shared_.blade_hop[blade].store(NextHop(Harness::blade_mac(blade), kBack));
        make_rings();
        snapshot_ = std::move(Snapshot::build(snapshot_of({})).value());
        shared_.snapshot = snapshot_.get();
        Profile profile;
        profile.workers = kWorkers;
        profile.mbufs = 4096;
        profile.holds = 16;
        profile.poll = PollMode::adaptive;
        for (uint16_t i = 0; i < kWorkers; i++)
            workers.push_back(std::move(Worker::create(i, profile, ports_, flows_, shared_).value()));
        for (auto& worker : workers) threads_.emplace_back([&worker] { worker->run(); });
    }
    ~TwoWorkers() override {
        stop();
        workers.clear();
        for (const auto& all : {&wires, &kernels})
            for (const auto& wire : *all) (void)wire->sent();
        EXPECT_EQ(rte_mempool_in_use_count(pool_), 0u) << "mbufs leaked";
    }
    void stop() {
        shared_.stop = true;
        for (std::thread& thread : std::exchange(threads_, {})) thread.join();
    }
    /// All that leaves by the front ports, until `count` frames have, or for ten seconds.
    std::map<uint8_t, std::vector<Frame>> replies(size_t count) {
        std::map<uint8_t, std::vector<Frame>> all;
        size_t seen = 0;
        for (int i = 0; i < 10'000 && seen < count; i++) {
            for (const uint8_t port : {kFront, kFront2})
                for (Frame& frame : wires[port]->sent()) all[port].push_back(std::move(frame)), seen++;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return all;
    }
    [[nodiscard]] uint64_t count(uint16_t worker, Reason reason) const {
        return workers[worker]->stats().reasons[static_cast<size_t>(reason)].get();
    }

    std::array<std::unique_ptr<Wire>, kPorts> wires, kernels;
    std::vector<std::unique_ptr<Worker>> workers;

  private:
    void make_rings() {
        constexpr unsigned kOneToOne = RING_F_SP_ENQ | RING_F_SC_DEQ;
        for (uint16_t i = 0; i < kWorkers; i++) {
            const auto name = [&](const char* what) { return tag_ + what + std::to_string(i); };
            shared_.asks[i] =
                create_ring(name("asks").c_str(), sizeof(MoveAsk), 64, SOCKET_ID_ANY, kOneToOne);
            shared_.answers[i] =
                create_ring(name("answers").c_str(), sizeof(MoveAnswer), 64, SOCKET_ID_ANY, kOneToOne);
            shared_.handoff[i] = rte_ring_create(name("handoff").c_str(), 1024, SOCKET_ID_ANY, RING_F_SC_DEQ);
        }
        shared_.rcu = static_cast<rte_rcu_qsbr*>(
            rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(kWorkers), RTE_CACHE_LINE_SIZE));
        rte_rcu_qsbr_init(shared_.rcu, kWorkers);
    }

    static std::string next_tag() {
        static int made = 0;
        return "two" + std::to_string(made++) + "-";
    }

    const std::string tag_ = next_tag();  // DPDK's objects outlive a test, and have names
    Harness environment_;                 // starts DPDK; its own worker has nothing to do
    rte_mempool* pool_ = rte_pktmbuf_pool_create((tag_ + "pool").c_str(), 4096, 0, 0,
                                                 RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    std::unique_ptr<Snapshot> snapshot_;
    Ports ports_;
    Shared shared_;
    FlowMemory flows_ = std::move(FlowMemory::anonymous({.workers = kWorkers,
                                                         .buckets = 1024,
                                                         .tsc_per_us = rte_get_tsc_hz() / 1'000'000,
                                                         .fresh_key = shared_.flow_hash_key})
                                      .value());
    std::vector<std::thread> threads_;
};

TEST_F(TwoWorkers, AnswersLeaveByThePortOfTheirQuestion) {
    constexpr uint16_t kClients = 200, kFirst = 40000;
    const auto port_of = [](uint16_t client) { return client % 2 == 0 ? kFront : kFront2; };
    for (uint16_t client = kFirst; client < kFirst + kClients; client++)
        wires[port_of(client)]->receive(
            TcpSegment{.source_port = client, .flags = kSyn, .options = linux_syn_options()}.frame());
    const auto answers = replies(kClients);
    size_t seen = 0;
    for (const auto& [port, frames] : answers)
        for (const Frame& frame : frames) {
            const Headers h = parse_headers(frame);
            EXPECT_EQ(h.flags & (kSyn | kAck), kSyn | kAck);
            EXPECT_EQ(port, port_of(h.tuple.destination_port)) << h.tuple.destination_port;
            seen++;
        }
    EXPECT_EQ(seen, kClients);
    stop();
    EXPECT_GT(count(0, Reason::syn_cookie), 0u);
    EXPECT_GT(count(1, Reason::syn_cookie), 0u) << "the other worker has flows, too";
    EXPECT_EQ(count(0, Reason::handed_over), count(1, Reason::syn_cookie));
    EXPECT_EQ(workers[0]->stats().rx.get(), kClients) << "it receives all";
    EXPECT_EQ(workers[0]->stats().tx.get() + workers[1]->stats().tx.get(), kClients);
}

/// What is for no service goes to the kernel by the TAP of its port, whichever worker sees it.
TEST_F(TwoWorkers, StrangersReachTheKernelByTheirPort) {
    wires[kFront2]->receive(TcpSegment{.destination = "192.0.2.200"}.frame());
    std::vector<Frame> punted;
    for (int i = 0; i < 10'000 && punted.empty(); i++) {
        punted = kernels[kFront2]->sent();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(punted.size(), 1u);
    EXPECT_TRUE(kernels[kFront]->sent().empty());
}

}  // namespace
}  // namespace keyrail
