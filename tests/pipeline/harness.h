// SPDX-License-Identifier: Apache-2.0
// Runs the real pipeline on real mbufs: three ports whose wires and kernel ends are DPDK ring devices, so
// that a test puts a burst in and looks at what came out where. No huge pages, no root, no threads.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/common/ids.h"
#include "dataplane/core/context.h"
#include "tests/support/frames.h"

struct rte_ring;

namespace keyrail {
namespace link {
class Snapshot;
}
}  // namespace keyrail

namespace keyrail::test {

inline constexpr uint8_t kFront = 0, kBack = 1, kFront2 = 2;  // indices into Ports
inline constexpr uint8_t kPorts = 3;
inline constexpr uint64_t kSecondUs = 1'000'000;
/// A closed flow is its blade's for the first, and forgotten after the second; an open one lives longer than
/// the third without a word.
inline constexpr uint64_t kTimeWaitUs = 70 * kSecondUs, kForgottenUs = 77 * kSecondUs;
inline constexpr uint64_t kKeepAliveUs = 7500 * kSecondUs;  // 2 h 5 min
inline constexpr kr_cookie_key kCookieKey = {0x1111, 0x2222};

/// What a blade's server says to a client, and a frame that ends in its TCP header.
Frame from_blade(const char* client = "192.0.2.10");
Frame cut_short();
inline const std::string kVip4 = "198.51.100.1", kVip6 = "2001:db8:100::1";

struct SceneRoute {
    std::string server_name, alpn;
    std::vector<uint16_t> blades;
};

struct Scene {
    std::vector<uint16_t> up = {1, 2, 3};
    std::vector<uint16_t> draining, down, overloaded;  // down: gone, and takes nothing new
    std::vector<uint16_t> closed = {};                 // takes nothing new; its flows live
    std::vector<uint16_t> pool = {};                   // of the service; empty: all blades
    std::vector<SceneRoute> routes = {};
    bool content_moves = true;
    uint32_t hold_budget_us = 20'000, hold_budget_tls13_us = 20'000;
    bool by_session = true;
    bool late = true;
    bool control_connected = true;
    bool agents = false;          // whose flows are can be asked
    uint32_t idle_timeout_s = 0;  // 0: as it comes
    bool proxy_protocol = true;
    bool refuse_in_silence = false;
    bool ping = true;
    uint32_t holds = 8, segments = 1024;
    uint16_t workers = 1;
    size_t flow_buckets = 1024;
    uint32_t other_services = 0;  // configured beside it
    uint32_t moved = 0;           // entries of the moved table, of sessions that nobody asks for
    std::vector<std::pair<uint8_t, uint16_t>> ticket_keys = {};  // key name, 16 times this byte -> blade
};

class Harness {
  public:
    explicit Harness(const Scene& scene = {});
    ~Harness();

    /// One burst, all from `port`.
    void burst(uint8_t port, const std::vector<Frame>& frames);
    /// One burst of what another worker handed over: packets from several front ports.
    void mixed_burst(const std::vector<std::pair<uint8_t, Frame>>& frames);
    /// The same for benchmarks: how many TSC ticks the pipeline took, its transmit queues included; what came
    /// out is freed.
    uint64_t timed_burst(uint8_t port, const std::vector<Frame>& frames);
    /// Puts the flow of this frame into the flow table, and takes all flows out.
    void bind_flow(const Frame& frame, uint16_t blade);
    void forget_flows();
    /// Time passes; timers run.
    void advance(uint64_t us);
    /// Frames that left since the last call.
    std::vector<Frame> wire(uint8_t port);
    std::vector<Frame> kernel(uint8_t port);
    std::vector<Frame> handed_over(uint16_t worker);
    /// What this worker was told about its flows.
    std::vector<FlowEnd> flow_ends(uint16_t worker);
    /// From now on packets are traced: those that `marked` says, by the number of their arrival, which counts
    /// from 1. With KR_TRACED in the environment every harness traces all packets from the start, and
    /// compares what was told with the counters at its end.
    void trace(std::function<bool(uint32_t packet)> marked = [](uint32_t) { return true; });
    void stop_tracing() { context_->trace.tell_to(nullptr); }
    /// What was told since the last call.
    std::vector<Exit> exits();
    /// What the kernel sends by this port.
    void burst_from_kernel(uint8_t port, const std::vector<Frame>& frames);
    /// Moves asked for since the last call.
    std::vector<MoveAsk> asks();
    void answer(const MoveAsk& ask, bool moved);
    /// Connections asked for since the last call, and the answer.
    std::vector<FlowAsk> flow_asks();
    void answer(const FlowAsk& ask, uint16_t blade, bool time_wait = false);
    /// The session has gone to another blade meanwhile, by another move.
    void answer_elsewhere(const MoveAsk& ask, uint16_t holder);
    void set_blades(const Scene& scene);
    /// A new snapshot, in place of the one before, which is freed.
    void publish(const link::Snapshot& message);
    /// This client is reached through the front port by these VLANs.
    void route_by_vlans(const std::string& client, const std::vector<uint16_t>& vlans);

    [[nodiscard]] uint64_t count(Reason reason) const;
    [[nodiscard]] uint64_t held() const;
    static unsigned mbufs_in_use();
    /// rx == tx + punt + held + drops (+ handed over), DESIGN.md section 9.
    void expect_conserved() const;

    Context& context() { return *context_; }
    MovedTable& moved() { return *moved_; }
    /// A session name of this chassis.
    static SessionName name(uint16_t blade, uint8_t salt = 1);
    static MacAddress blade_mac(uint16_t blade) { return {0x02, 0, 0, 0, 1, static_cast<uint8_t>(blade)}; }

  private:
    std::vector<Frame> drain(rte_ring* ring);
    void load(uint8_t port, const std::vector<Frame>& frames);
    void put(uint16_t place, uint8_t port, const Frame& frame);
    rte_mbuf* mbuf_of(uint8_t port, const Frame& frame);
    void flush();
    void take_answers();
    void expect_all_told() const;

    Shared shared_;
    Ports ports_;
    std::unique_ptr<Snapshot> snapshot_;
    std::unique_ptr<MovedTable> moved_;
    std::unique_ptr<FlowTable::Bucket[], void (*)(void*)> memory_;  // in huge pages where there are any
    std::span<FlowTable::Bucket> buckets_;
    std::unique_ptr<Context> context_;
    std::unique_ptr<Burst> burst_;
    Scene scene_;
    std::function<bool(uint32_t)> marked_;  // empty: none
    uint32_t arrived_ = 0;
    bool all_traced_ = false;
    struct {
        std::array<uint64_t, kReasons> reasons{};
        std::array<uint64_t, 8> actions{};
        std::set<uint32_t> packets;
    } told_;  // where all are traced
};

/// What keyraild would send for a scene.
link::Snapshot snapshot_of(const Scene& scene);
MacAddress destination(const Frame& frame);
/// Everything behind the Ethernet addresses: what must never change.
Frame behind_macs(const Frame& frame);
std::vector<uint8_t> cut(const std::vector<uint8_t>& bytes, size_t from, size_t to);
/// A ClientHello that offers a session whose home is this blade: with TLS 1.3 in two segments, as today's
/// clients send it, see Client::hello(); the other one in one, in the same version.
std::vector<uint8_t> hello_of(uint16_t blade, TlsVersion version = TlsVersion::tls13);
std::vector<uint8_t> one_segment_hello_of(uint16_t blade, TlsVersion version = TlsVersion::tls13);

/// A client of the harness: handshakes with the dispatcher, then sends what the test wants.
class Client {
  public:
    Client(Harness& harness, uint16_t port, bool ipv6 = false, uint32_t isn = 5000);
    Client(Harness& harness, uint16_t port, const std::string& vip, uint32_t isn = 5000);
    void syn();  // sends the SYN, reads the SYN-ACK
    [[nodiscard]] TcpSegment segment(std::vector<uint8_t> payload = {}, uint32_t offset = 0,
                                     uint8_t flags = kAck) const;
    [[nodiscard]] Frame data(std::vector<uint8_t> payload, uint32_t offset = 0) const;
    /// Payload of a full segment of this client: MSS of an MTU of 1500, less the timestamps.
    [[nodiscard]] size_t full_segment() const;
    /// The stream as this client sends it: in full segments. Two are a hello of today (client_hello()).
    [[nodiscard]] std::vector<Frame> hello(const std::vector<uint8_t>& stream, uint32_t offset = 0) const;
    uint32_t cookie = 0, tsval = 0;

  private:
    Harness& harness_;
    TcpSegment base_;
};

}  // namespace keyrail::test
