// SPDX-License-Identifier: Apache-2.0
// The packet path without devices: ns per packet of each kind, in bursts of 32 and 64. Packets are copied
// into fresh mbufs outside the measured time; what they become is freed outside of it, too.
#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

/// Runs bursts made by `make(i)` and reports the time of one packet.
template <typename Make>
void measure(benchmark::State& state, Harness& harness, uint8_t port, Make make) {
    const auto size = static_cast<size_t>(state.range(0));
    const double ns_per_tick = 1e9 / static_cast<double>(rte_get_tsc_hz());
    uint64_t packets = 0, number = 0;
    for (auto _ : state) {
        std::vector<Frame> frames(size);
        for (Frame& frame : frames) frame = make(number++);
        state.SetIterationTime(static_cast<double>(harness.timed_burst(port, frames)) * ns_per_tick / 1e9);
        packets += size;
    }
    state.SetItemsProcessed(static_cast<int64_t>(packets));
}

void syn(benchmark::State& state) {
    Harness harness;
    const Frame frame = TcpSegment{.flags = kSyn, .options = linux_syn_options()}.frame();
    measure(state, harness, kFront, [&](uint64_t) { return frame; });
}

/// A client's data segment with this hello, from a new port each time, its cookie good.
void hello(benchmark::State& state, int version) {
    Harness harness;
    const auto bytes = client_hello({.max_version = version, .name = Harness::name(2)});
    std::vector<Frame> prepared;
    for (uint32_t i = 0; i < 4096; i++) {
        Client client(harness, static_cast<uint16_t>(10000 + i));
        client.syn();
        prepared.push_back(client.data(bytes));
    }
    measure(state, harness, kFront, [&](uint64_t i) {
        if (i % prepared.size() == 0) harness.forget_flows();
        return prepared[i % prepared.size()];
    });
}
void hello_tls13_psk(benchmark::State& state) { hello(state, 0x0304); }
void hello_tls12_id(benchmark::State& state) { hello(state, 0x0303); }

void established(benchmark::State& state) {
    Harness harness(Scene{.flow_buckets = 1u << 19});
    const auto flows = static_cast<uint32_t>(state.range(1));
    TcpSegment segment{.ack = 1, .payload = std::vector<uint8_t>(64)};
    const auto numbered = [&](uint32_t n) {
        segment.source_port = static_cast<uint16_t>(n);
        segment.destination_mac = kFrontMac;
        Frame frame = segment.frame();
        store16(&frame[28], static_cast<uint16_t>(n >> 16));  // low half of the client's address
        return frame;
    };
    const Frame one = numbered(0);
    for (uint32_t n = 0; n < flows; n++) harness.bind_flow(numbered(n), 2);
    uint32_t seed = 1;
    measure(state, harness, kFront, [&](uint64_t) {
        Frame frame = one;
        const uint32_t n = (seed = seed * 1664525 + 1013904223) % flows;
        store16(&frame[28], static_cast<uint16_t>(n >> 16));
        store16(&frame[34], static_cast<uint16_t>(n));
        return frame;
    });
}

void returned(benchmark::State& state) {
    Harness harness;
    const Frame frame = TcpSegment{.source = kVip4,
                                   .destination = "192.0.2.10",
                                   .source_port = 443,
                                   .destination_port = 40000,
                                   .payload = std::vector<uint8_t>(1400)}
                            .frame();
    measure(state, harness, kBack, [&](uint64_t) { return frame; });
}

BENCHMARK(syn)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(hello_tls13_psk)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(hello_tls12_id)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(established)->ArgsProduct({{32, 64}, {1, 16'384, 1'000'000}})->UseManualTime();
BENCHMARK(returned)->Arg(32)->Arg(64)->UseManualTime();

}  // namespace
}  // namespace keyrail

BENCHMARK_MAIN();
