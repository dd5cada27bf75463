// SPDX-License-Identifier: Apache-2.0
// `keyrail explain` says what then happens: for a thousand clients and sessions, of which each is explained
// first, and comes then. And it changes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "dataplane/explain/explain.h"
#include "dataplane/pipeline.h"
#include "dataplane/tables/moved_table.h"
#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;
using testing::HasSubstr;

/// What a request says of a client, and what it then does.
struct Visitor {
    uint16_t port = 40000;
    HelloOptions hello;
    bool ipv6 = false;

    [[nodiscard]] TcpSegment segment() const {
        return {.source = ipv6 ? "2001:db8:1::10" : "192.0.2.10",
                .destination = ipv6 ? kVip6 : kVip4,
                .source_port = port};
    }
    [[nodiscard]] link::ExplainRequest request() const {
        link::ExplainRequest request;
        const auto bytes = [&](const std::string& text) {
            const Address a = address(text);
            return std::string(a.begin() + (ipv6 ? 0 : 12), a.end());
        };
        request.set_client(bytes(segment().source));
        request.set_client_port(port);
        request.set_address(bytes(segment().destination));
        request.set_port(443);
        request.set_server_name(hello.server_name);
        if (hello.name) request.set_name(hello.name->data(), hello.name->size());
        if (hello.name == std::nullopt) request.set_name(hello.ticket.data(), hello.ticket.size());
        if (!hello.alpn.empty()) request.add_alpn(std::string(hello.alpn.begin() + 1, hello.alpn.end()));
        request.set_tls12(hello.max_version == TlsVersion::tls12);
        request.set_early_data(hello.early_data);
        return request;
    }
};

struct Verdict {
    std::string reason;
    uint16_t blade = 0, move_from = 0;
    bool operator==(const Verdict&) const = default;
};
void PrintTo(const Verdict& verdict, std::ostream* out) {
    *out << verdict.reason << ", blade " << verdict.blade << ", moved from " << verdict.move_from;
}

class ExplainTest : public testing::Test {
  protected:
    void begin(const Scene& scene) {
        harness_.reset();
        harness_ = std::make_unique<Harness>(scene);
        Context& context = harness_->context();
        auto made = explain::Shadow::create(context.shared, context.ports, run_pipeline);
        ASSERT_TRUE(made) << made.error().message;
        shadow_ = std::move(*made);
        harness_->trace();
        (void)harness_->exits();  // of a test before
    }
    void TearDown() override {
        shadow_.reset();
        harness_.reset();
    }

    link::Explained explain(const link::ExplainRequest& request) {
        Context& context = harness_->context();
        const auto connection = explain::connection_of(request);
        EXPECT_TRUE(connection) << connection.error().message;
        const explain::Observed seen = explain::observe(*connection, context);
        auto explained = explain::explain(*shadow_, request, *connection, *context.snapshot, {&seen, 1});
        EXPECT_TRUE(explained) << explained.error().message;
        return explained.value_or(link::Explained());
    }
    static Verdict verdict_of(const link::Explained& explained) {
        return {explained.reason(), static_cast<uint16_t>(explained.blade()),
                static_cast<uint16_t>(explained.move_from())};
    }
    static std::string step(const link::Explained& explained, const std::string& what) {
        for (const auto& step : explained.steps())
            if (step.what() == what) return step.text();
        return "";
    }

    /// It comes, and this becomes of it.
    Verdict visit(const Visitor& visitor) {
        TcpSegment segment = visitor.segment();
        segment.flags = kSyn;
        segment.seq = 5000;
        segment.options = linux_syn_options();
        const Exit syn = one_burst({segment.frame()});
        const auto replies = harness_->wire(kFront);
        segment.ack = 0x1001;
        uint32_t tsval = 1;
        if (replies.size() == 1) {
            const Headers h = parse_headers(replies[0]);
            if (h.flags & kRst) return {std::string(name(syn.reason)), syn.blade};
            segment.ack = h.seq.value() + 1;
            tsval = load32(&replies[0][h.l4 + 28u]);
        } else if (syn.action != Action::forward) {
            return {std::string(name(syn.reason)), syn.blade};
        }
        segment.seq = 5001;
        segment.flags = kAck;
        segment.options = timestamp_option(78, tsval);
        one_burst({segment.frame()});
        const size_t full = visitor.ipv6 ? kFullSegment - 20 : kFullSegment;
        Exit decided;
        const auto stream = client_hello(visitor.hello);
        for (size_t at = 0; at < stream.size(); at += full) {
            segment.payload = cut(stream, at, at + full);
            decided = one_burst({segment.frame()});
            segment.seq += static_cast<uint32_t>(full);
        }
        for (const uint8_t port : {kFront, kBack, kFront2}) harness_->wire(port);
        const auto asks = harness_->asks();
        if (asks.empty()) return {std::string(name(decided.reason)), decided.blade};
        harness_->answer(asks[0], false);
        return {"steer_move", asks[0].to, asks[0].from};
    }

    std::unique_ptr<Harness> harness_;
    std::unique_ptr<explain::Shadow> shadow_;

  private:
    static std::string_view name(Reason reason) {
        return reason == Reason::count ? "held" : kReasonTexts[static_cast<size_t>(reason)].name;
    }
    /// Of its last packet; or of the first segment, which the others follow.
    Exit one_burst(const std::vector<Frame>& frames) {
        (void)harness_->exits();
        harness_->burst(kFront, frames);
        const auto exits = harness_->exits();
        if (exits.empty()) return {};
        const Exit last = *std::ranges::max_element(exits, {}, &Exit::packet);
        if (last.reason != Reason::hello_rest) return last;
        for (const Exit& exit : exits)
            if (exit.reason != Reason::hello_rest) return exit;
        return last;
    }
};

/// Tables and clients as chance has them.
class Chance {
  public:
    explicit Chance(uint32_t seed) : random_(seed) {}
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    bool one_in(unsigned n) { return below(n) == 0; }
    uint16_t blade() { return static_cast<uint16_t>(1 + below(kBlades)); }

    Scene scene() {
        Scene scene{.up = {}, .holds = 64};
        for (uint16_t blade = 1; blade <= kBlades; blade++) {
            const unsigned how = below(10);
            auto& list = how < 5   ? scene.up
                         : how < 7 ? scene.draining
                         : how < 8 ? scene.overloaded
                         : how < 9 ? scene.down
                                   : scene.closed;
            list.push_back(blade);
        }
        if (scene.up.empty()) scene.up.swap(scene.draining);
        for (const char* server : {"a.keyrail.test", "*.b.keyrail.test"})
            if (one_in(2)) scene.routes.push_back({server, one_in(2) ? "h2" : "", {blade(), blade()}});
        for (auto& route : scene.routes)
            if (route.blades[0] == route.blades[1]) route.blades.pop_back();
        scene.content_moves = !one_in(3);
        scene.hold_budget_us = one_in(4) ? 0 : 20'000;
        scene.hold_budget_tls13_us = one_in(4) ? 0 : 20'000;
        scene.by_session = !one_in(8);
        scene.late = !one_in(4);
        scene.control_connected = !one_in(6);
        scene.ticket_keys = {{0x44, blade()}};
        return scene;
    }
    link::Snapshot loaded(const Scene& scene) {
        link::Snapshot message = snapshot_of(scene);
        for (auto& blade : *message.mutable_blades()) blade.set_load(below(65536));
        return message;
    }
    Visitor visitor(uint16_t port, Harness& harness) {
        Visitor visitor{.port = port, .ipv6 = one_in(4)};
        HelloOptions& hello = visitor.hello;
        hello.max_version = one_in(2) ? TlsVersion::tls12 : TlsVersion::tls13;
        hello.server_name = std::array{"www.keyrail.test", "a.keyrail.test", "x.b.keyrail.test"}[below(3)];
        if (one_in(2)) hello.alpn = {2, 'h', '2'};
        hello.post_quantum = one_in(2);
        if (one_in(5)) return visitor;
        SessionName name = Harness::name(blade(), static_cast<uint8_t>(below(256)));
        if (one_in(6)) name[20] ^= 1;  // forged
        if (one_in(6)) name[0] = 9;    // of a key that nobody has
        if (one_in(3)) harness.moved().set(name, BladeId(blade()), UINT32_MAX, 1);
        if (one_in(8) && hello.max_version == TlsVersion::tls12)
            hello.ticket = std::vector<uint8_t>(128, 0x44);
        else
            hello.name = name;
        return visitor;
    }

  private:
    static constexpr uint16_t kBlades = 6;
    std::mt19937 random_;
};

TEST_F(ExplainTest, AgreesWithWhatThenHappensForAThousandClients) {
    Chance chance(20261201);
    std::map<std::string, int> reasons;
    int moves = 0;
    for (uint16_t i = 0; i < 1000; i++) {
        if (i % 20 == 0) {
            const Scene scene = chance.scene();
            shadow_.reset();
            begin(scene);
            harness_->publish(chance.loaded(scene));
        }
        const Visitor visitor = chance.visitor(static_cast<uint16_t>(20'000 + i), *harness_);
        if (chance.one_in(10)) harness_->bind_flow(visitor.segment().frame(), chance.blade());
        const link::Explained explained = explain(visitor.request());
        const Verdict said = verdict_of(explained), happened = visit(visitor);
        ASSERT_EQ(said, happened) << "client " << i << "\n" << explained.DebugString();
        reasons[said.reason]++;
        moves += said.move_from != 0;
        harness_->advance(50'000);
        for (const uint8_t port : {kFront, kBack, kFront2}) harness_->wire(port);
    }
    EXPECT_GT(moves, 30);
    for (const char* reason :
         {"steer_home", "steer_moved", "steer_new", "steer_foreign", "steer_not_worth", "steer_no_control",
          "steer_holder_down", "steer_content", "steer_ticket", "flow"})
        EXPECT_GT(reasons[reason], 0) << reason << " was not met";
}

TEST_F(ExplainTest, ChangesNothing) {
    begin(Scene{.up = {1, 3}, .draining = {2}});
    const Visitor visitor{.hello = {.name = Harness::name(2)}};
    const uint64_t flows = harness_->context().flows.size();
    for (int i = 0; i < 5; i++) {
        const auto explained = explain(visitor.request());
        EXPECT_EQ(explained.move_from(), 2u) << explained.DebugString();
    }
    EXPECT_EQ(harness_->asks().size(), 0u);
    EXPECT_EQ(harness_->context().flows.size(), flows);
    EXPECT_EQ(harness_->held(), 0u);
    EXPECT_EQ(harness_->exits().size(), 0u);
    for (const uint8_t port : {kFront, kBack, kFront2}) EXPECT_EQ(harness_->wire(port).size(), 0u);
    harness_->expect_conserved();
}

TEST_F(ExplainTest, TellsEachStep) {
    begin(Scene{.up = {1, 3}, .draining = {2}});
    auto request = Visitor{.hello = {.name = Harness::name(2)}}.request();
    request.set_why_not(2);
    const auto explained = explain(request);
    EXPECT_THAT(step(explained, "service"), HasSubstr("www"));
    EXPECT_THAT(step(explained, "flow"), HasSubstr("does not know"));
    EXPECT_THAT(step(explained, "SYN"), HasSubstr("answered with a cookie"));
    EXPECT_THAT(step(explained, "name"), HasSubstr("made by blade 2 with key generation 1"));
    EXPECT_THAT(step(explained, "holder"), HasSubstr("is draining"));
    EXPECT_THAT(step(explained, "move"), HasSubstr("worth it"));
    EXPECT_THAT(step(explained, "verdict"), HasSubstr("held until the session has moved from blade 2"));
    EXPECT_THAT(explained.why_not(), HasSubstr("blade 2 is draining"));
    EXPECT_EQ(explained.packets_size(), 3);
}

TEST_F(ExplainTest, SaysWhyNot) {
    begin(Scene{.up = {1, 2}, .draining = {3}, .closed = {4}, .pool = {1, 2, 3, 4}});
    const auto why = [&](const Visitor& visitor, uint32_t blade) {
        auto request = visitor.request();
        request.set_why_not(blade);
        return explain(request).why_not();
    };
    const Visitor home1{.hello = {.name = Harness::name(1)}};
    EXPECT_EQ(why(home1, 1), "blade 1 gets it");
    EXPECT_EQ(why(home1, 2), "blade 1 has its session, and takes new clients");
    EXPECT_EQ(why(home1, 4), "blade 4 takes no new clients");
    EXPECT_EQ(why(home1, 77), "there is no blade 77");
    const Visitor fresh;
    EXPECT_THAT(why(fresh, 3), HasSubstr("blade 3 is draining"));
    const auto taken = explain(fresh.request()).blade();
    EXPECT_THAT(why(fresh, taken == 1 ? 2 : 1), HasSubstr("second candidate"));
}

TEST_F(ExplainTest, KnowsWhatIsNotServed) {
    begin(Scene{});
    auto request = Visitor{}.request();
    request.set_port(80);
    EXPECT_EQ(explain(request).reason(), "refused_reset");
    request.set_address(std::string("\xcb\x00\x71\x01", 4));
    EXPECT_EQ(explain(request).reason(), "punt_not_service");
    harness_->set_blades(Scene{.up = {}, .down = {1, 2}});
    EXPECT_EQ(explain(Visitor{}.request()).reason(), visit(Visitor{}).reason);
}

TEST_F(ExplainTest, RefusesNonsense) {
    auto request = Visitor{}.request();
    request.set_client_port(0);
    EXPECT_FALSE(explain::connection_of(request));
    request.set_client_port(70'000);
    EXPECT_FALSE(explain::connection_of(request));
    request = Visitor{}.request();
    request.set_client("abc");
    EXPECT_FALSE(explain::connection_of(request));
    request = Visitor{}.request();
    request.set_hello(std::string(kHelloMax + 1, 'x'));
    EXPECT_FALSE(explain::connection_of(request));
}

/// Whatever a capture has as a client's first data: explained as it would be steered.
TEST_F(ExplainTest, TakesAnyFirstData) {
    begin(Scene{});
    auto request = Visitor{}.request();
    request.set_hello("GET / HTTP/1.1\r\n\r\n");
    EXPECT_EQ(explain(request).reason(), "steer_not_tls");
    const auto hello = hello_of(3);
    request.set_hello(hello.data(), hello.size());
    EXPECT_EQ(verdict_of(explain(request)), (Verdict{"steer_home", 3}));
    request.set_hello(hello.data(), 700);
    EXPECT_EQ(explain(request).reason(), "held");
}

}  // namespace
}  // namespace keyrail
