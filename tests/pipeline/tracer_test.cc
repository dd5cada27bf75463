// SPDX-License-Identifier: Apache-2.0
// An operator's trace: which packets it is about, what it tells of each, and where it ends.
#include <gtest/gtest.h>

#include "dataplane/pipeline.h"
#include "dataplane/trace/tracer.h"
#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;
using trace::TracedPacket;

std::string bytes4(const std::string& text) {
    const Address a = address(text);
    return {a.begin() + 12, a.end()};
}

class TracerTest : public testing::Test {
  protected:
    /// From now on there is a trace.
    void trace(const link::TraceFilter& message, uint32_t packets = 1000, uint16_t snap = 0) {
        const auto filter = trace::Filter::read(message);
        ASSERT_TRUE(filter) << filter.error().message;
        limits_ = std::make_shared<Tracer::Limits>();
        limits_->packets = packets;
        limits_->snap = snap;
        tracer_ = std::make_unique<Tracer>(*filter, limits_);
        harness_.trace([](uint32_t) { return false; });  // it marks nothing itself, also under KR_TRACED
        harness_.stop_tracing();
        harness_.context().packet_trace = tracer_.get();
        harness_.context().trace.tell_to(static_cast<ExitListener*>(tracer_.get()));
    }
    void TearDown() override {
        harness_.context().packet_trace = nullptr;
        harness_.stop_tracing();
    }
    std::vector<TracedPacket> told() {
        std::vector<TracedPacket> all;
        while (tracer_->take([&](const TracedPacket& record, std::span<const uint8_t> frame) {
            all.push_back(record);
            frames_.emplace_back(frame.begin(), frame.end());
        })) {
        }
        return all;
    }
    std::vector<Reason> reasons() {
        std::vector<Reason> all;
        for (const TracedPacket& record : told()) all.push_back(record.exit.reason);
        return all;
    }
    static Frame segment(uint16_t port, const char* source = "192.0.2.10") {
        return TcpSegment{.source = source, .source_port = port, .ack = 77, .payload = {1, 2, 3}}.frame();
    }

    Harness harness_{Scene{.up = {1, 3}, .draining = {2}}};
    std::shared_ptr<Tracer::Limits> limits_;
    std::unique_ptr<Tracer> tracer_;
    std::vector<Frame> frames_;
};

TEST_F(TracerTest, TellsOfAllWithoutAFilter) {
    harness_.bind_flow(segment(2000), 3);
    trace({});
    harness_.burst(kFront, {cut_short(), segment(2000), TcpSegment{.flags = kSyn}.frame()});
    harness_.burst(kBack, {from_blade()});
    EXPECT_EQ(reasons(),
              (std::vector{Reason::drop_truncated, Reason::syn_cookie, Reason::flow, Reason::returned}));
    harness_.expect_conserved();
}

TEST_F(TracerTest, TellsOfAClientBothWays) {
    link::TraceFilter filter;
    filter.mutable_client()->set_address(bytes4("192.0.2.0"));
    filter.mutable_client()->set_bits(28);
    harness_.bind_flow(segment(2000), 3);
    harness_.bind_flow(segment(2000, "192.0.2.99"), 3);
    trace(filter);
    harness_.burst(kFront, {segment(2000), segment(2000, "192.0.2.99"), cut_short()});
    harness_.burst(kBack, {from_blade(), from_blade("192.0.2.99")});
    const auto all = told();
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].exit.reason, Reason::flow);
    EXPECT_EQ(all[0].exit.blade, 3);
    EXPECT_EQ(all[0].headers.tuple.source, address("192.0.2.10"));
    EXPECT_EQ(all[1].exit.reason, Reason::returned);
    filter.set_client_port(2001);
    trace(filter);
    harness_.burst(kFront, {segment(2000)});
    EXPECT_EQ(told().size(), 0u);
}

TEST_F(TracerTest, TellsOfReasonsDropsAndBlades) {
    harness_.bind_flow(segment(2000), 3);
    harness_.bind_flow(segment(2001), 1);
    const std::vector<Frame> frames = {cut_short(), segment(2000), segment(2001),
                                       TcpSegment{.flags = kSyn}.frame()};
    link::TraceFilter drops, syns, blade;
    drops.set_drops_only(true);
    syns.add_reasons("syn_cookie");
    blade.set_blade(1);
    trace(drops);
    harness_.burst(kFront, frames);
    EXPECT_EQ(reasons(), std::vector{Reason::drop_truncated});
    trace(syns);
    harness_.burst(kFront, frames);
    EXPECT_EQ(reasons(), std::vector{Reason::syn_cookie});
    trace(blade);
    harness_.burst(kFront, frames);
    EXPECT_EQ(reasons(), std::vector{Reason::flow});
}

TEST_F(TracerTest, KnowsHellosInTwoSegmentsByServerNameAndSession) {
    Client here(harness_, 41000), other(harness_, 41001);
    here.syn();
    other.syn();
    const SessionName name = Harness::name(3);
    const auto stream = client_hello({.server_name = "a.KEYRAIL.test", .name = name});
    const auto frames = here.hello(stream), others = other.hello(client_hello({.name = Harness::name(1)}));
    ASSERT_EQ(frames.size(), 2u);
    const auto run = [&](const link::TraceFilter& filter) {
        trace(filter);
        harness_.forget_flows();
        for (const Frame& frame : frames) harness_.burst(kFront, {frame});
        for (const Frame& frame : others) harness_.burst(kFront, {frame});
        return told();
    };
    link::TraceFilter by_name, by_session, by_another;
    by_name.set_server_name("*.keyrail.test");
    by_session.set_name(name.data(), name.size());
    by_another.set_server_name("b.keyrail.test");
    EXPECT_EQ(run(by_name).size(), 4u) << "www.keyrail.test is the other's";
    const auto all = run(by_session);
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].exit.reason, Reason::steer_home);
    EXPECT_EQ(all[1].exit.reason, Reason::hello_rest);
    for (const TracedPacket& record : all) {
        EXPECT_EQ(record.hello.holder, 3);
        EXPECT_EQ(std::string(record.hello.server_name.data(), record.hello.server_name_size),
                  "a.KEYRAIL.test");
        EXPECT_EQ(record.hello.tls_version, TlsVersion::tls13);
    }
    EXPECT_EQ(run(by_another).size(), 0u);
}

TEST_F(TracerTest, TellsOfAMoveWhenItHasEnded) {
    Client client(harness_, 41000);
    client.syn();
    trace({});
    harness_.burst(kFront, {client.data(one_segment_hello_of(2))});
    EXPECT_EQ(told().size(), 0u) << "held";
    harness_.answer(harness_.asks().at(0), true);
    const auto all = told();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].exit.reason, Reason::steer_move);
    EXPECT_EQ(all[0].hello.holder, 2);
    EXPECT_TRUE(all[0].hello.move);
}

TEST_F(TracerTest, KeepsFramesAsTheyCame) {
    harness_.bind_flow(segment(2000), 3);
    trace({}, 1000, 60);
    const Frame frame = segment(2000);
    harness_.burst(kFront, {frame, cut_short()});
    const auto all = told();
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(frames_[1], frame) << "not with the MACs that it left with";
    EXPECT_EQ(frames_[0], cut_short());
    const Frame longer = TcpSegment{.source_port = 2000, .ack = 77, .payload = Frame(500, 7)}.frame();
    harness_.burst(kFront, {longer});
    ASSERT_EQ(told().size(), 1u);
    EXPECT_EQ(frames_[2], Frame(longer.begin(), longer.begin() + 60));
}

TEST_F(TracerTest, EndsWithItsPackets) {
    trace({}, 3);
    harness_.burst(kFront, std::vector<Frame>(5, cut_short()));
    EXPECT_EQ(told().size(), 3u);
    EXPECT_GE(limits_->taken.load(), 3u);
}

TEST_F(TracerTest, CountsWhatFindsNoRoom) {
    trace({}, UINT32_MAX);
    const size_t bursts = Tracer::kRecords / kBurst + 2;
    for (size_t i = 0; i < bursts; i++) harness_.burst(kFront, std::vector<Frame>(kBurst, cut_short()));
    EXPECT_EQ(told().size(), Tracer::kRecords);
    EXPECT_EQ(tracer_->lost(), bursts * kBurst - Tracer::kRecords);
}

TEST_F(TracerTest, RefusesNonsense) {
    const auto refused = [](const link::TraceFilter& filter) { return !trace::Filter::read(filter); };
    link::TraceFilter reason, bits, name, blade, port;
    reason.add_reasons("drop_nonsense");
    bits.mutable_client()->set_address(bytes4("192.0.2.0"));
    bits.mutable_client()->set_bits(33);
    name.set_name("short");
    blade.set_blade(5000);
    port.set_client_port(70'000);
    for (const auto& filter : {reason, bits, name, blade, port})
        EXPECT_TRUE(refused(filter)) << filter.DebugString();
}

}  // namespace
}  // namespace keyrail
