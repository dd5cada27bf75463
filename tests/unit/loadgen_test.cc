// SPDX-License-Identifier: Apache-2.0
// The load generator's pure parts: what both sides of a connection say, in what frames, when, and how long
// things took.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <set>

#include "dataplane/wire/client_hello.h"
#include "tests/support/frames.h"
#include "tests/support/session_names.h"
#include "tools/lib/loadgen/conversation.h"
#include "tools/lib/loadgen/histogram.h"
#include "tools/lib/loadgen/numbering.h"
#include "tools/lib/loadgen/schedule.h"
#include "tools/lib/loadgen/script.h"
#include "tools/lib/loadgen/wire.h"

namespace keyrail::loadgen {
namespace {

constexpr uint32_t kFirst = 1'001;  // sequence number of the client's first byte
constexpr Lengths kLengths{.hello = 1750, .request = 160, .flight = 220, .response = 280};

uint16_t size_of(Say say) {
    switch (say) {
        case Say::hello:
            return kLengths.hello;
        case Say::request:
            return kLengths.request;
        case Say::flight:
            return kLengths.flight;
        case Say::response:
            return kLengths.response;
        default:
            return 0;
    }
}

/// A client and a blade, and what is under way between them; the client's hello takes two segments. A
/// dispatcher that binds late stands between them when `late`: it answers the SYN, drops the bare ACK, and
/// the first that the blade gets is the beginning of the stream.
struct Conversation {
    explicit Conversation(bool binds_late) : late(binds_late) {
        client.start(kFirst - 1);
        from_client(Say::syn);
    }

    void from_client(Say say) {
        said_by_client.push_back(say);
        if (say == Say::ack_and_hello) from_client(Say::hello);
        const size_t size = size_of(say);
        for (size_t at = 0; at == 0 || at < size; at += kMss)
            to_blade.push_back({.flags = flags_of(say),
                                .size = static_cast<uint16_t>(std::min(kMss, size - at)),
                                .seq = client.seq(say, kLengths) + static_cast<uint32_t>(at),
                                .ack = client.next_expected(),
                                .tsval = 7});
    }
    void from_blade(Say say) {
        said_by_blade.push_back(say);
        to_client.push_back({.flags = flags_of(say),
                             .size = size_of(say),
                             .seq = blade.seq(say, kLengths),
                             .ack = blade.next_expected(),
                             .tsval = 8});
    }
    void at_blade(const Segment& segment) {
        if (late && segment.flags == kSyn)
            return to_client.push_back(
                {.flags = kSyn | kAck, .seq = 0xc00c1e00, .ack = segment.seq + 1, .tsval = 9});
        const bool first_byte = !segment.empty() && segment.seq == kFirst;
        if (late && blade.state() == Blade::State::closed && !first_byte) return;
        const Step step = blade.receive(segment, kLengths, late);
        events.insert(step.event);
        if (step.say != Say::nothing) from_blade(step.say);
    }
    void at_client(const Segment& segment) {
        const Step step = client.receive(segment, kLengths);
        events.insert(step.event);
        if (step.event == Event::completed) completed++;
        if (step.say != Say::nothing) from_client(step.say);
    }
    /// Until nothing is under way any more.
    void run() {
        while (!to_blade.empty() || !to_client.empty()) {
            if (!to_blade.empty()) at_blade(take(to_blade));
            if (!to_client.empty()) at_client(take(to_client));
        }
    }
    static Segment take(std::deque<Segment>& queue) {
        const Segment segment = queue.front();
        queue.pop_front();
        return segment;
    }

    const bool late;
    Client client;
    Blade blade;
    std::deque<Segment> to_blade, to_client;
    std::vector<Say> said_by_client, said_by_blade;
    std::multiset<Event> events;
    int completed = 0;
};

using Words = std::vector<Say>;

TEST(LoadgenConversation, LateTheBladeSeesTheHelloFirst) {
    Conversation c(true);
    c.run();
    EXPECT_EQ(c.said_by_client,
              (Words{Say::syn, Say::ack_and_hello, Say::hello, Say::request, Say::fin, Say::ack}));
    EXPECT_EQ(c.said_by_blade, (Words{Say::ack, Say::flight, Say::response, Say::fin}));
    EXPECT_EQ(c.completed, 1);
    EXPECT_EQ(c.events.count(Event::hello), 1u);
    EXPECT_EQ(c.events.count(Event::first_byte), 1u);
    EXPECT_EQ(c.events.count(Event::gap) + c.events.count(Event::duplicate) + c.events.count(Event::stray),
              0u);
    EXPECT_EQ(c.blade.state(), Blade::State::fin);
}

TEST(LoadgenConversation, EarlyTheBladeAnswersTheSyn) {
    Conversation c(false);
    c.run();
    EXPECT_EQ(c.said_by_blade, (Words{Say::syn_ack, Say::ack, Say::flight, Say::response, Say::fin}));
    EXPECT_EQ(c.completed, 1);
    EXPECT_EQ(c.events.count(Event::gap) + c.events.count(Event::duplicate), 0u);
}

/// Whatever single segment is lost, saying the last thing again brings the connection to its end.
TEST(LoadgenConversation, AnySegmentMayBeLost) {
    for (const bool late : {true, false}) {
        for (int lost = 0; lost < (late ? 11 : 12); lost++) {
            Conversation c(late);
            for (int carried = 0, patience = 0; c.completed == 0 && patience < 50; patience++) {
                if (c.to_blade.empty() && c.to_client.empty()) c.from_client(c.client.again());
                auto& queue = c.to_blade.empty() ? c.to_client : c.to_blade;
                const bool to_blade = &queue == &c.to_blade;
                const Segment segment = Conversation::take(queue);
                if (carried++ == lost) continue;
                to_blade ? c.at_blade(segment) : c.at_client(segment);
            }
            EXPECT_EQ(c.completed, 1) << "late " << late << ", segment " << lost;
        }
    }
}

TEST(LoadgenConversation, AProxyMayCutStreamsAsItLikes) {
    std::mt19937 random(4);
    for (int round = 0; round < 200; round++) {
        Conversation c(false);
        const auto cut = [&](std::deque<Segment>& queue) {
            Segment whole = Conversation::take(queue);
            if (whole.size < 2) return whole;
            Segment rest = whole;
            whole.size = static_cast<uint16_t>(1 + random() % (whole.size - 1u));
            rest.seq += whole.size;
            rest.size = static_cast<uint16_t>(rest.size - whole.size);
            queue.push_front(rest);
            return whole;
        };
        while (!c.to_blade.empty() || !c.to_client.empty()) {
            if (!c.to_blade.empty()) c.at_blade(cut(c.to_blade));
            if (!c.to_client.empty()) c.at_client(cut(c.to_client));
        }
        EXPECT_EQ(c.completed, 1);
        EXPECT_EQ(c.events.count(Event::hello), 1u);
        EXPECT_EQ(c.events.count(Event::first_byte), 1u);
    }
}

TEST(LoadgenConversation, CopiesAndGapsAreSeen) {
    Conversation c(true);
    c.at_blade(Conversation::take(c.to_blade));
    c.at_client(Conversation::take(c.to_client));
    const Segment hello = c.to_blade.front();
    ASSERT_EQ(hello.size, kMss);
    EXPECT_TRUE(c.blade.begins(hello));
    c.run();
    EXPECT_TRUE(c.blade.begins(hello));
    EXPECT_EQ(c.blade.offset_of(hello.seq + hello.size), hello.size);
    EXPECT_EQ(c.blade.receive(hello, kLengths, true).event, Event::duplicate);
    Segment ahead = hello;
    ahead.seq = c.blade.next_expected() + 1;
    EXPECT_EQ(c.blade.receive(ahead, kLengths, true).event, Event::gap);
}

TEST(LoadgenConversation, EndsThatAreNotAsTheyShouldBe) {
    Conversation reset(true);
    EXPECT_EQ(reset.client.receive({.flags = kRst | kAck}, kLengths).event, Event::reset);
    Conversation early_fin(true);
    early_fin.client.receive({.flags = kSyn | kAck, .seq = 5, .ack = 1001}, kLengths);
    EXPECT_EQ(early_fin.client.receive({.flags = kFin | kAck, .seq = 6, .ack = 1001}, kLengths).event,
              Event::closed);
    Conversation wrong(true);
    EXPECT_EQ(wrong.client.receive({.flags = kSyn | kAck, .seq = 5, .ack = 77}, kLengths).event,
              Event::stray);
    EXPECT_EQ(Blade().receive({.flags = kAck, .size = 10}, kLengths, false).event, Event::stray);
    EXPECT_EQ(Client().receive({.flags = kAck, .size = 10}, kLengths).event, Event::stray);
}

TEST(LoadgenHistogram, QuantilesAreCloseFromAbove) {
    std::mt19937_64 random(1);
    std::vector<uint64_t> values;
    Histogram histogram;
    for (int i = 0; i < 100'000; i++) {
        const uint64_t value = random() >> (random() % 40 + 24);
        values.push_back(value);
        histogram.record(value);
    }
    std::ranges::sort(values);
    for (const double q : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const auto exact = static_cast<double>(values[static_cast<size_t>(q * 100'000 + 0.5) - 1]);
        const auto told = static_cast<double>(histogram.quantile(q));
        EXPECT_GE(told, exact) << q;
        EXPECT_LE(told, exact * (1 + 1.0 / 64)) << q;
    }
    EXPECT_EQ(histogram.count(), 100'000u);
    EXPECT_EQ(histogram.quantile(1), values.back());
    EXPECT_EQ(Histogram().quantile(0.5), 0u);
}

TEST(LoadgenHistogram, HasRoomForAnything) {
    Histogram histogram;
    histogram.record(~uint64_t{0});
    histogram.record(0);
    EXPECT_EQ(histogram.quantile(0.5), 0u);
    EXPECT_EQ(histogram.quantile(1), (uint64_t{1} << 40) - 1);
    EXPECT_EQ(histogram.max(), ~uint64_t{0});
}

TEST(LoadgenSchedule, Steady) {
    const Schedule schedule(1000, 1000, 1, 5);
    EXPECT_DOUBLE_EQ(schedule.when(0), 0);
    EXPECT_DOUBLE_EQ(schedule.when(500), 0.5);
    EXPECT_DOUBLE_EQ(schedule.when(3000), 3);
    EXPECT_DOUBLE_EQ(schedule.when(10'000), 10);
}

TEST(LoadgenSchedule, RampsEvenlyBehindTheWarmUp) {
    for (const auto& [from, to] : {std::pair{100.0, 1000.0}, {1000.0, 100.0}}) {
        const Schedule schedule(from, to, 2, 10);
        EXPECT_DOUBLE_EQ(schedule.when(from * 2), 2);
        EXPECT_NEAR(schedule.when(from * 2 + (from + to) / 2 * 10), 12, 1e-6);
        EXPECT_NEAR(schedule.when(from * 2 + (from + to) / 2 * 10 + to), 13, 1e-6);
        EXPECT_DOUBLE_EQ(schedule.rate(7), (from + to) / 2);
        double before = -1;
        for (double n = 0; n < 8000; n++) {
            const double now = schedule.when(n);
            ASSERT_GT(now, before) << n;
            if (n > 0) {  // the distance is that of the rate just there
                ASSERT_NEAR(1 / (now - before), schedule.rate((now + before) / 2), 1) << n;
            }
            before = now;
        }
    }
}

TEST(LoadgenNumbering, ANumberIsAnAddressAndAPort) {
    const Numbering numbering(256);
    for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{255}, uint64_t{256}, numbering.mask()})
        EXPECT_EQ(numbering.number(numbering.address(number), numbering.port(number)), number);
    EXPECT_EQ(numbering.port(0), 0x8000);
    EXPECT_EQ(numbering.port(256), 0x8001);
    EXPECT_EQ(numbering.number(htonl(Numbering::kNetwork + 256), 0x8000), std::nullopt);
    EXPECT_EQ(numbering.number(numbering.address(0), 443), std::nullopt);
    EXPECT_TRUE(numbering.newer(3, numbering.mask() - 3));
    EXPECT_FALSE(numbering.newer(numbering.mask() - 3, 3));
    EXPECT_FALSE(numbering.newer(3, 3));
}

std::span<const uint8_t> bytes_of(const Payload& payload) { return {payload.data, payload.size}; }

TEST(LoadgenWire, FramesAreWholeAndComeBackAsTheyWere) {
    const std::vector<uint8_t> text = {1, 2, 3, 250, 251};
    for (const bool odd : {false, true}) {
        for (const int kind : {kSyn | 0, kSyn | kAck, kAck | kPsh, kFin | kAck}) {
            const auto flags = static_cast<uint8_t>(kind);
            const Payload payload =
                flags & kSyn ? Payload{} : payload_of(std::span(text).first(odd ? text.size() : 4));
            const Path path{.to = blade_mac(0x102),
                            .from = {2, 0, 0, 0, 0xc0, 1},
                            .source = htonl(0x64400001),
                            .destination = htonl(0xc6336401),
                            .source_port = 40000,
                            .destination_port = 443};
            const Segment segment{.flags = flags, .seq = 0xfffffff0, .ack = 0x80000001, .tsval = 123456};
            std::vector<uint8_t> frame(2048);
            frame.resize(write_frame(frame.data(), path, segment, 99, payload));
            EXPECT_TRUE(test::ip_checksum_good(frame));
            EXPECT_TRUE(test::tcp_checksum_good(frame));
            const Headers h = parse_headers(frame);
            EXPECT_EQ(h.layout, Layout::tcp);
            EXPECT_EQ(h.tuple.source, test::address("100.64.0.1"));
            EXPECT_EQ(h.tuple.destination, test::address("198.51.100.1"));

            Received received;
            ASSERT_TRUE(read_frame(frame, received));
            EXPECT_EQ(received.blade, 0x102);
            EXPECT_EQ(received.segment.flags, flags);
            EXPECT_EQ(received.segment.seq, segment.seq);
            EXPECT_EQ(received.segment.ack, segment.ack);
            EXPECT_EQ(received.segment.tsval, segment.tsval);
            EXPECT_EQ(received.source_port, 40000);
            EXPECT_TRUE(std::ranges::equal(received.payload, bytes_of(payload)));
            for (size_t cut = 0; cut < frame.size(); cut++)
                EXPECT_FALSE(read_frame(std::span(frame).first(cut), received)) << cut;
        }
    }
}

struct Hellos {
    TlsVersion version;
    bool post_quantum;
    uint16_t segments;
};

class LoadgenScript : public ::testing::TestWithParam<Hellos> {};

TEST_P(LoadgenScript, HellosNameTheirSessions) {
    const std::vector<uint8_t> key(16, 0x11);
    const auto made = Script::create({.tls_version = GetParam().version,
                                      .post_quantum = GetParam().post_quantum,
                                      .hellos = 5,
                                      .blades = 2,
                                      .name_key = key,
                                      .name_generation = 3});
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->hello_segments(), GetParam().segments);
    for (uint32_t i = 0; i < 5; i++) {
        std::vector<uint8_t> bytes;
        const auto segments = made->segments(Say::hello, i);
        ASSERT_EQ(segments.size(), GetParam().segments);
        for (const Payload& segment : segments) {
            EXPECT_EQ(segment.sum, payload_of(bytes_of(segment)).sum);
            EXPECT_EQ(segment.size, std::min(kMss, made->lengths().hello - bytes.size()));
            EXPECT_TRUE(made->has(i, bytes.size(), bytes_of(segment)));
            EXPECT_FALSE(made->has(i, bytes.size() + 1, bytes_of(segment)));
            bytes.insert(bytes.end(), segment.data, segment.data + segment.size);
        }
        EXPECT_EQ(bytes.size(), made->lengths().hello);
        std::vector<uint8_t> scratch(16384);
        ClientHello hello;
        ASSERT_EQ(parse_client_hello(bytes, scratch, {}, hello).status, HelloStatus::complete);
        std::array<SessionName, kMaxNames> names;
        ASSERT_EQ(session_names(hello, names), 1u);
        EXPECT_EQ(names[0], testing::name_at(key, 3, i % 2 + 1, i));
        EXPECT_EQ(made->home(i), i % 2 + 1);
        EXPECT_EQ(made->recognise(bytes_of(segments[0])), i) << "by the first segment alone";
        EXPECT_EQ(made->recognise(bytes), i);
        EXPECT_EQ(made->recognise(std::span(bytes).first(19)), i) << "the number is in the random";
        EXPECT_EQ(made->recognise(std::span(bytes).first(18)), Script::kUnknown);
        EXPECT_TRUE(made->has(i, bytes.size(), {bytes.data(), 1})) << "behind the hello";
        std::vector<uint8_t> changed(bytes.begin(), bytes.end());
        changed.back() ^= 1;
        EXPECT_EQ(made->recognise(changed), Script::kUnknown);
        // by its session id HAProxy learns: record and message headers, version and random are before it
        const auto flight = bytes_of(made->segments(Say::flight, i)[0]);
        EXPECT_TRUE(std::ranges::equal(flight.subspan(43, 33), std::span(bytes).subspan(43, 33)));
        EXPECT_LE(flight.size(), kMss);
        EXPECT_EQ(flight.size(), made->lengths().flight);
    }
    EXPECT_EQ(made->segments(Say::response, 0)[0].size, made->lengths().response);
    EXPECT_EQ(made->segments(Say::fin, 0)[0].size, 0);
}

INSTANTIATE_TEST_SUITE_P(Table, LoadgenScript,
                         ::testing::Values(Hellos{TlsVersion::tls13, true, 2},
                                           Hellos{TlsVersion::tls13, false, 1},
                                           Hellos{TlsVersion::tls12, true, 1}),
                         [](const auto& row) {
                             return std::string(row.param.version == TlsVersion::tls12 ? "tls12"
                                                : row.param.post_quantum               ? "x25519mlkem768"
                                                                                       : "x25519");
                         });

}  // namespace
}  // namespace keyrail::loadgen
