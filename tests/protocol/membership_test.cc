// SPDX-License-Identifier: Apache-2.0
// A blade that is revoked or enrolled anew, as another blade's agent sees it; and an agent's own certificate.
#include <gmock/gmock.h>
#include <openssl/evp.h>

#include "control/agent/agent.h"
#include "control/agent/name_keys.h"
#include "control/protocol/file.h"
#include "control/store/store.h"
#include "tests/support/agent_names.h"
#include "tests/support/fake_control.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using namespace std::chrono_literals;
using chassis::Envelope;
using testing::FakeEnd;
using testing::kNameKey;
using testing::name_at;
using testing::run_until;
using testing::TestChassis;

/// Agent 1 is real; control and blade 2 are the test's.
class Membership : public ::testing::Test {
  protected:
    ~Membership() override {
        agent.reset();
        run_until(io, [] { return false; }, 20);
    }
    void start() {
        asio::io_context scratch;
        listen = {
            *parse_ip("127.0.0.1"),
            asio::ip::tcp::acceptor(scratch, {asio::ip::address_v4::loopback(), 0}).local_endpoint().port()};
        AgentConfig config;
        config.id = 1;
        config.control = control.address();
        config.listen = listen;
        config.interface = "lo";
        config.tls = chassis.files("blade-1");
        config.store = (chassis.directory() / "store").string();
        config.store_bytes = 2 << 20;
        config.accept_program = false;
        auto started = Agent::start(io, config);
        ASSERT_TRUE(started) << started.error().message;
        agent = std::move(*started);
        store = std::make_unique<Store>(std::move(*Store::open(config.store)));
        ASSERT_TRUE(run_until(io, [&] { return !control.of(1, Envelope::kAgentHello).empty(); }));
    }
    using Change = std::function<void(chassis::Keys&)>;
    void assign(const Change& change) {
        Envelope message;
        auto& keys = *message.mutable_keys();
        keys.set_blade_id(1);
        keys.set_version(++version);
        auto& name_key = *keys.add_name_keys();
        name_key.set_key(std::string(kNameKey.begin(), kNameKey.end()));
        name_key.set_current(true);
        change(keys);
        ASSERT_TRUE(control.channels[1]->send(std::move(message)));
        ASSERT_TRUE(run_until(io, [&] {
            const auto reports = control.of(1, Envelope::kHealth);
            return !reports.empty() && reports.back().health().keys_version() == version;
        }));
    }
    Change with_blade_2(const std::string& certificate = "") {
        return [this, certificate](chassis::Keys& keys) {
            auto& peer = *keys.add_peers();
            peer.set_blade_id(2);
            peer.set_address(blade_2.address().text());
            if (!certificate.empty()) peer.add_certificates(certificate);
        };
    }
    /// Blade 2 connects to the agent; it ends when the agent cuts it.
    void connect() {
        ended.clear();
        asio::co_spawn(
            io,
            [this]() -> asio::awaitable<void> {
                const TlsContext tls = chassis.tls("blade-2");
                const Identity expected = Identity::of_blade(1);
                auto made = co_await connect_channel(io.get_executor(), tls, listen, expected);
                if (!made) co_return void(ended = made.error().message);
                channel = *made;
                const auto message = co_await (*made)->receive();
                ended = message ? "a message" : message.error().message;
            },
            asio::detached);
    }
    bool put(const SessionName& name) {
        SessionRecord record;
        testing::fill(record, 12, 700);
        record.name = name;
        record.moved_in = true;
        record.expires_ms = wall_clock_ms() + 3'600'000;
        return store->put(record) == Store::Put::kStored;
    }

    asio::io_context io;
    TestChassis chassis{2};
    FakeEnd control{io, chassis.tls("control")}, blade_2{io, chassis.tls("blade-2")};
    HostPort listen;
    std::unique_ptr<Agent> agent;
    std::unique_ptr<Store> store;
    ChannelPtr channel;
    std::string ended;
    uint64_t version = 0;
};

TEST_F(Membership, ARevokedBladeIsCutOffInBothDirections) {
    start();
    assign(with_blade_2());
    connect();
    ASSERT_TRUE(run_until(io, [&] { return channel && blade_2.channels.contains(1); }));
    const SessionName of_two = name_at(2, 1), of_three = name_at(3, 2);
    ASSERT_TRUE(put(of_two) && put(of_three));
    assign([](chassis::Keys& keys) { keys.add_revoked(2); });
    EXPECT_TRUE(run_until(io, [&] { return !ended.empty() && !blade_2.channels[1]->is_open(); }));
    EXPECT_FALSE(store->contains(of_two));  // it may have kept a copy
    EXPECT_TRUE(store->contains(of_three));
}

/// Not by its certificate, nor by one of the CA that nobody knew of; and no order leads there.
TEST_F(Membership, ARevokedBladeGivesAndTakesNothing) {
    start();
    const SessionName name = name_at(1, 1);
    ASSERT_TRUE(put(name));
    const auto now = pki::Clock::now();
    for (uint64_t order_id = 1; order_id <= 2; order_id++) {
        assign([](chassis::Keys& keys) { keys.add_revoked(2); });
        connect();
        EXPECT_TRUE(run_until(io, [&] { return !ended.empty(); }));
        EXPECT_NE(ended, "a message");
        Envelope order;
        order.mutable_order()->set_order_id(order_id);
        order.mutable_order()->set_name(name.data(), name.size());
        order.mutable_order()->set_to(2);
        order.mutable_order()->set_budget_us(200'000);
        ASSERT_TRUE(control.channels[1]->send(std::move(order)));
        ASSERT_TRUE(run_until(io, [&] { return control.of(1, Envelope::kMoveDone).size() == order_id; }));
        EXPECT_NE(control.of(1, Envelope::kMoveDone).back().move_done().result(), chassis::MOVED);
        EXPECT_TRUE(store->contains(name));
        EXPECT_FALSE(blade_2.channels.contains(1));
        ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::of_blade(2), {now - 1h, now + 20h}));
    }
}

TEST_F(Membership, OnlyTheCertificatesThatAreGoodCount) {
    start();
    const std::string serial = chassis.tls("blade-2").certificate().serial;
    assign(with_blade_2(serial));
    connect();
    ASSERT_TRUE(run_until(io, [&] { return channel && blade_2.channels.contains(1); }));
    assign(with_blade_2(serial));
    EXPECT_FALSE(run_until(io, [&] { return !ended.empty(); }, 300));  // nothing new, nothing cut
    assign(with_blade_2("AB"));                                        // the slot has another machine now
    ASSERT_TRUE(run_until(io, [&] { return !ended.empty(); }));
    connect();
    EXPECT_TRUE(run_until(io, [&] { return !ended.empty(); }));
    // Outwards likewise: it is connected to, looked at, and dropped.
    EXPECT_TRUE(run_until(io, [&] { return !blade_2.channels[1]->is_open(); }));
    Envelope order;
    order.mutable_order()->set_order_id(1);
    order.mutable_order()->set_to(2);
    order.mutable_order()->set_budget_us(200'000);
    const SessionName name = name_at(1, 1);
    ASSERT_TRUE(put(name));
    order.mutable_order()->set_name(name.data(), name.size());
    ASSERT_TRUE(control.channels[1]->send(std::move(order)));
    ASSERT_TRUE(run_until(io, [&] { return !control.of(1, Envelope::kMoveDone).empty(); }));
    EXPECT_NE(control.of(1, Envelope::kMoveDone)[0].move_done().result(), chassis::MOVED);
    EXPECT_TRUE(store->contains(name));
    EXPECT_TRUE(blade_2.of(1, Envelope::kTransfer).empty());
}

TEST_F(Membership, AnAgentRenewsItsCertificateInTime) {
    const auto now = pki::Clock::now();
    ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::of_blade(1), {now - 100h, now + 20h}));
    const std::string before = chassis.tls("blade-1").certificate().serial;
    std::string refuse = "not today";
    control.handler = [&](const ChannelPtr& from, const Envelope& message) {
        if (!message.has_certificate_request()) return;
        Envelope answer;
        auto& reply = *answer.mutable_certificate_reply();
        reply.set_refused(refuse);
        if (refuse.empty()) {
            const auto issued = pki::certify_request(
                {chassis.files("control").ca, chassis.directory() / "pki/ca.key"},
                message.certificate_request().request(), from->peer(), pki::Validity::from_now(24h * 90));
            reply.set_certificate(issued->certificate);
        }
        (void)from->send(std::move(answer));
    };
    start();
    ASSERT_TRUE(run_until(io, [&] { return control.of(1, Envelope::kCertificateRequest).size() == 1; }));
    EXPECT_EQ(chassis.tls("blade-1").certificate().serial, before);
    refuse.clear();
    control.channels[1]->close();  // a new connection asks again
    ASSERT_TRUE(run_until(io, [&] { return chassis.tls("blade-1").certificate().serial != before; }));
    EXPECT_GT(chassis.tls("blade-1").certificate().until, now + 24h * 80);
    connect();
    ASSERT_TRUE(run_until(io, [&] { return channel != nullptr; }));
    EXPECT_EQ(channel->peer_certificate().serial, chassis.tls("blade-1").certificate().serial);
    EXPECT_FALSE(std::filesystem::exists(chassis.files("blade-1").certificate.string() + ".renewed"));
}

/// Revoked, or not in keyraild's configuration: TLS lets it in, and its connection ends without a word.
TEST_F(Membership, AnAgentThatIsTurnedAwayComesBackSeldomAndSaysSoOnce) {
    size_t times = 0;
    control.handler = [&](const ChannelPtr& came, const Envelope& message) {
        if (!message.has_agent_hello()) return;
        times++;
        came->close();
    };
    ::testing::internal::CaptureStdout();
    start();
    run_until(io, [] { return false; }, 4000);
    const std::string log = ::testing::internal::GetCapturedStdout();
    EXPECT_GE(times, 3u);
    EXPECT_LE(times, 10u) << "each pause is twice as long as the one before";
    const std::string words = "turns this blade away";
    const size_t first = log.find(words);
    EXPECT_NE(first, std::string::npos) << log;
    EXPECT_EQ(log.find(words, first + 1), std::string::npos) << log;
}

}  // namespace
}  // namespace keyrail
