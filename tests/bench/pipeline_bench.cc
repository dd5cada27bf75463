// SPDX-License-Identifier: Apache-2.0
// The packet path without devices: what a packet of each kind costs, in bursts, as the wire would bring them.
// Packets are copied into fresh mbufs outside of the measured time; what they become is freed outside of it.
// With --once a case runs for `valgrind --tool=callgrind --instr-atstart=no --collect-atstart=no`, which then
// counts the pipeline's instructions and nothing else.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <valgrind/callgrind.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;
using nlohmann::json;

/// What the command line says about the scene.
struct Knobs {
    uint32_t flows = 0;     // of `pipeline.established.flows`
    uint32_t services = 1;  // configured, of which the traffic is for one
    uint16_t blades = 3;
    uint32_t moved = 0;  // entries of the moved table, none of which the traffic asks for

    [[nodiscard]] Scene scene() const {
        Scene scene;
        scene.other_services = services - 1;
        scene.moved = moved;
        scene.up.resize(blades);
        std::iota(scene.up.begin(), scene.up.end(), uint16_t{1});
        return scene;
    }
};

/// A scene and the packets that come, numbered from 0.
struct Traffic {
    std::unique_ptr<Harness> harness;
    std::function<Frame(uint64_t)> frame;
    uint8_t port = kFront;
};

struct Case {
    std::string id, what;
    std::function<Traffic(const Knobs&)> make;
    size_t packets = 1;  // that make up what the figure is of
};

/// From another client each time: address and port.
void number_client(Frame& frame, uint32_t n) {
    store16(&frame[28], static_cast<uint16_t>(n >> 16));  // low half of the source address
    store16(&frame[34], static_cast<uint16_t>(n));
}
uint32_t scattered(uint64_t n) { return static_cast<uint32_t>(n * 0x9e3779b97f4a7c15 >> 32); }

Frame syn_frame() { return TcpSegment{.flags = kSyn, .options = linux_syn_options()}.frame(); }

Traffic syn(const Knobs& knobs) {
    return {std::make_unique<Harness>(knobs.scene()), [frame = syn_frame()](uint64_t i) mutable {
                number_client(frame, scattered(i));
                return frame;
            }};
}

constexpr uint16_t kFirstPort = 10'000;
constexpr uint64_t kClients = 4096;  // after that many their flows are forgotten, and they come again

/// What `part(client)` makes of clients that have shaken hands, one frame after the other.
Traffic from_clients(const Knobs& knobs, const std::function<std::vector<Frame>(const Client&)>& part) {
    Scene scene = knobs.scene();
    scene.holds = 4096;  // as a profile has it: no hello makes room for another one
    scene.segments = 8192;
    Traffic traffic{std::make_unique<Harness>(scene), {}};
    std::vector<Frame> frames;
    for (uint64_t i = 0; i < kClients; i++) {
        Client client(*traffic.harness, static_cast<uint16_t>(kFirstPort + i));
        client.syn();
        for (Frame& frame : part(client)) frames.push_back(std::move(frame));
    }
    traffic.frame = [frames = std::move(frames), harness = traffic.harness.get()](uint64_t i) {
        if (i % frames.size() == 0) harness->forget_flows();
        return frames[i % frames.size()];
    };
    return traffic;
}

Traffic ack(const Knobs& knobs) {
    return from_clients(knobs,
                        [](const Client& client) { return std::vector<Frame>{client.segment().frame()}; });
}

/// Hellos that name a session of blade 2, in full segments.
Traffic hello(const Knobs& knobs, HelloOptions options) {
    if (!options.name) options.name = Harness::name(2);
    const auto bytes = client_hello(options);
    return from_clients(knobs, [&](const Client& client) { return client.hello(bytes); });
}

/// The two segments of each hello never come in one burst: all that come in between are other clients'.
Traffic apart(Traffic traffic) {
    constexpr uint64_t kApart = 64;
    traffic.frame = [frame = traffic.frame](uint64_t i) {
        const uint64_t group = i / (2 * kApart), in_group = i % (2 * kApart);
        return frame(2 * (group * kApart + in_group % kApart) + in_group / kApart);
    };
    return traffic;
}

/// One segment, padded to the 517 bytes that clients padded it to.
Traffic short_hello(const Knobs& knobs, const SessionName& name) {
    HelloOptions options{.name = name, .post_quantum = false};
    constexpr size_t kSize = 517, kExtensionHeader = 4;
    options.padding = kSize - kExtensionHeader - client_hello(options).size();
    return hello(knobs, options);
}

Traffic established(const Knobs& knobs, uint32_t flows) {
    Scene scene = knobs.scene();
    scene.flow_buckets = std::bit_ceil(std::max(1024u, flows / 2));  // half full
    Traffic traffic{std::make_unique<Harness>(scene), {}};
    Frame frame = TcpSegment{.ack = 1, .payload = std::vector<uint8_t>(64)}.frame();
    for (uint32_t n = 0; n < flows; n++) {
        number_client(frame, n);
        traffic.harness->bind_flow(frame, 2);
    }
    traffic.frame = [frame, flows](uint64_t i) mutable {
        number_client(frame, scattered(i) % flows);
        return frame;
    };
    return traffic;
}

/// A SYN flood while clients work: three SYNs for each packet of one of 16 k flows.
Traffic syn_flood(const Knobs& knobs) {
    Traffic traffic = established(knobs, 16'384);
    traffic.frame = [others = traffic.frame, frame = syn_frame()](uint64_t i) mutable {
        if (i % 4 == 0) return others(i);
        number_client(frame, scattered(i) | 1u << 31);
        return frame;
    };
    return traffic;
}

Traffic returned(const Knobs& knobs) {
    const Frame frame = TcpSegment{.source = kVip4,
                                   .destination = "192.0.2.10",
                                   .source_port = 443,
                                   .destination_port = 40000,
                                   .payload = std::vector<uint8_t>(1400)}
                            .frame();
    return {std::make_unique<Harness>(knobs.scene()), [frame](uint64_t) { return frame; }, kBack};
}

std::vector<Case> all_cases() {
    std::vector<Case> cases = {
        {"pipeline.syn", "SYN, answered with a cookie", syn},
        {"pipeline.ack", "bare ACK that completes a handshake", ack},
        {"pipeline.hello.pq_two_segments", "ClientHello with X25519MLKEM768, PSK: both of its segments",
         [](const Knobs& knobs) { return hello(knobs, {}); }, 2},
        {"pipeline.hello.pq_two_bursts", "the same, each segment in a burst of its own",
         [](const Knobs& knobs) { return apart(hello(knobs, {})); }, 2},
        {"pipeline.hello.tls13_psk", "ClientHello of one segment, 517 bytes, PSK",
         [](const Knobs& knobs) { return short_hello(knobs, Harness::name(2)); }},
        {"pipeline.hello.forged", "the same, but a bit of its name was changed",
         [](const Knobs& knobs) {
             SessionName name = Harness::name(2);
             name.back() ^= 1;
             return short_hello(knobs, name);
         }},
        {"pipeline.hello.tls12_id", "ClientHello of TLS 1.2, session id",
         [](const Knobs& knobs) { return hello(knobs, {.max_version = TlsVersion::tls12}); }},
        {"pipeline.return", "from a blade to its client", returned},
        {"pipeline.synflood", "three SYNs for each packet of 16 k flows", syn_flood},
        {"pipeline.established.flows", "of as many flows as --flows says",
         [](const Knobs& knobs) { return established(knobs, knobs.flows); }},
    };
    const std::pair<const char*, uint32_t> sizes[] = {
        {"1", 1}, {"16k", 16'384}, {"1m", 1'000'000}, {"16m", 16'000'000}};
    for (const auto& [name, flows] : sizes)
        cases.push_back({fmt::format("pipeline.established.{}", name), fmt::format("of {} flows", flows),
                         [flows = flows](const Knobs& knobs) { return established(knobs, flows); }});
    return cases;
}

class Runner {
  public:
    Runner(Traffic traffic, size_t burst) : traffic_(std::move(traffic)), frames_(burst) {}

    /// TSC ticks of one burst.
    uint64_t burst() {
        for (Frame& frame : frames_) frame = traffic_.frame(number_++);
        return traffic_.harness->timed_burst(traffic_.port, frames_);
    }
    /// TSC ticks of one packet, over so many bursts.
    double round(size_t bursts) {
        uint64_t ticks = 0;
        for (size_t i = 0; i < bursts; i++) ticks += burst();
        return static_cast<double>(ticks) / static_cast<double>(bursts * frames_.size());
    }

  private:
    Traffic traffic_;
    std::vector<Frame> frames_;
    uint64_t number_ = 0;
};

json measure(const Case& one, const Knobs& knobs, size_t burst, bool quick) {
    const size_t rounds = quick ? 3 : 15, bursts = quick ? 64 : 2048;
    Runner runner(one.make(knobs), burst);
    runner.round(bursts / 4);
    std::vector<double> ticks(rounds);
    for (double& t : ticks) t = runner.round(bursts) * static_cast<double>(one.packets);
    std::ranges::sort(ticks);
    const double ns = 1e9 / static_cast<double>(rte_get_tsc_hz());
    const double median = ticks[rounds / 2];
    fmt::print("{:34} {:3} {:8.1f} ns {:8.1f} cycles  ({:.1f} to {:.1f} ns)  {}\n", one.id, burst,
               median * ns, median, ticks.front() * ns, ticks.back() * ns, one.what);
    return {{"id", one.id},
            {"burst", burst},
            {"ns", median * ns},
            {"cycles", median},
            {"min", ticks.front() * ns},
            {"max", ticks.back() * ns}};
}

/// Two turns to warm up, then the ones that callgrind looks at.
json once(const Case& one, const Knobs& knobs, size_t burst) {
    constexpr size_t kBursts = 32;
    Runner runner(one.make(knobs), burst);
    runner.round(2);
    CALLGRIND_START_INSTRUMENTATION;
    runner.round(kBursts);
    CALLGRIND_STOP_INSTRUMENTATION;
    return {{"id", one.id}, {"count", kBursts * burst / one.packets}};
}

int run(int argc, char** argv) {
    CLI::App app("What a packet costs in the pipeline, without devices.");
    Knobs knobs;
    std::string file, once_id;
    std::vector<std::string> only;
    size_t only_burst = 0;
    bool quick = false;
    app.add_option("--json", file, "Write the results here");
    app.add_option("--only", only, "Only these cases");
    app.add_option("--burst", only_burst, "Only bursts of so many packets (32 and 64 else)")
        ->check(CLI::Range(1, 64));
    app.add_option("--once", once_id,
                   "Run this case once, for callgrind; prints how many packets (or hellos) it counts");
    app.add_flag("--quick", quick, "Does it run? Figures mean little");
    app.add_option("--flows", knobs.flows, "Adds pipeline.established.flows");
    app.add_option("--services", knobs.services, "Services configured")->check(CLI::Range(1, 65'000));
    app.add_option("--blades", knobs.blades, "Blades of the service")->check(CLI::Range(2, 4'000));
    app.add_option("--moved", knobs.moved, "Entries of the moved table");
    CLI11_PARSE(app, argc, argv);

    json results = json::array();
    for (const Case& one : all_cases()) {
        if (!once_id.empty()) {
            if (one.id == once_id) fmt::print("{}\n", once(one, knobs, 32).dump());
            continue;
        }
        if (!only.empty() && std::ranges::find(only, one.id) == only.end()) continue;
        if (one.id.ends_with(".flows") && knobs.flows == 0) continue;
        for (const size_t burst : {size_t{32}, size_t{64}})
            if (only_burst == 0 || burst == only_burst) results.push_back(measure(one, knobs, burst, quick));
        std::fflush(stdout);
    }
    if (!file.empty() && !(std::ofstream(file) << results.dump(1) << '\n')) {
        fmt::print(stderr, "cannot write {}\n", file);
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace keyrail

int main(int argc, char** argv) { return keyrail::run(argc, argv); }
