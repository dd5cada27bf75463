// SPDX-License-Identifier: Apache-2.0
// What an agent takes from other blades: only what keyraild announced, once, and nothing damaged.
#include "tests/support/agent_test.h"

namespace keyrail {
namespace {

class AgentTransfers : public testing::AgentBench {};

/// An agent's connection that is ours: blade 3 by its certificate.
class Impostor {
  public:
    Impostor(asio::io_context& io, const TlsContext& tls, HostPort to, BladeId expected) {
        asio::co_spawn(io, run(io, tls, std::move(to), expected, alive_), asio::detached);
    }
    ~Impostor() { *alive_ = false; }
    Impostor(const Impostor&) = delete;
    Impostor& operator=(const Impostor&) = delete;

    ChannelPtr channel;
    std::vector<Envelope> received;
    bool ended = false;

  private:
    /// It may be waiting still when this is gone.
    asio::awaitable<void> run(asio::io_context& io, TlsContext tls, HostPort to, BladeId expected,
                              std::shared_ptr<bool> alive) {
        auto connected = co_await connect_channel(io.get_executor(), tls, to, Identity::of_blade(expected));
        EXPECT_TRUE(connected);
        if (!connected || !*alive) co_return;
        const ChannelPtr open = channel = *connected;
        for (;;) {
            auto message = co_await open->receive();
            if (!*alive) co_return;
            if (!message) break;
            received.push_back(*message);
        }
        ended = true;
    }

    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

Envelope transfer_of(const SessionName& name, uint64_t number, uint64_t order = 5) {
    Envelope message;
    message.set_request(number);
    message.mutable_transfer()->set_order_id(order);
    auto& record = *message.mutable_transfer()->mutable_record();
    record.set_name(bytes_of(name));
    record.set_tls_version(number_of(TlsVersion::tls13));
    record.set_session_der("a session");
    record.set_site(std::string(32, '\0'));
    record.set_created_ms(wall_clock_ms());
    record.set_authenticated_ms(wall_clock_ms());
    record.set_expires_ms(wall_clock_ms() + 10'000);
    record.set_single_use(true);
    record.set_digest(std::string(32, 'd'));
    record.set_service("www");
    return message;
}

/// Blade 3 is ours, blade 1 is real.
class ForeignTransferTest : public AgentTransfers {
  protected:
    void begin() {
        start(1);
        ready({1});
        blade = std::make_unique<Impostor>(io, chassis.tls("blade-3"), local(listen_port[1]), BladeId{1});
        ASSERT_TRUE(run_until(io, [&] { return blade->channel != nullptr; }));
    }
    void send(const Envelope& message) { ASSERT_TRUE(blade->channel->send(message)); }
    chassis::TransferAck answer(size_t index, int milliseconds = 5000) {
        EXPECT_TRUE(run_until(io, [&] { return blade->received.size() > index; }, milliseconds));
        return blade->received.size() > index ? blade->received[index].transfer_ack()
                                              : chassis::TransferAck();
    }
    std::unique_ptr<Impostor> blade;
};

TEST_F(ForeignTransferTest, WhatKeyraildDidNotAnnounceIsRefusedCountedAndNamed) {
    begin();
    const SessionName name = name_at(3, 1);
    send(transfer_of(name, 99));
    const auto refused = answer(0, 1500);
    EXPECT_FALSE(refused.stored());
    EXPECT_EQ(refused.reason(), "keyraild has not announced it");
    EXPECT_FALSE(stores[1]->contains(name));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kTransfersRefused).empty(); }));
    const auto told = control->of(1, Envelope::kTransfersRefused)[0].transfers_refused();
    EXPECT_EQ(told.from(), 3U);
    EXPECT_EQ(told.count(), 1U);
    EXPECT_EQ(told.reason(), refused.reason());
}

TEST_F(ForeignTransferTest, WhatOvertakesItsAnnouncementWaitsAMoment) {
    begin();
    const SessionName name = name_at(3, 1);
    send(transfer_of(name, 99));
    EXPECT_FALSE(run_until(io, [&] { return !blade->received.empty(); }, 100));
    expect(5, name, 3, 1);
    EXPECT_TRUE(answer(0).stored());
    EXPECT_TRUE(stores[1]->contains(name));
    EXPECT_EQ(blade->received[0].request(), 99U);
}

TEST_F(ForeignTransferTest, OnlyWhatWasAnnouncedAndOnlyOnce) {
    begin();
    const SessionName name = name_at(3, 1), other = name_at(3, 2);
    expect(5, name, 2, 1);
    send(transfer_of(name, 1));
    EXPECT_FALSE(answer(0).stored()) << "another blade sends it";
    expect(6, name, 3, 1);
    send(transfer_of(other, 2, 6));
    EXPECT_FALSE(answer(1).stored()) << "another session";
    Envelope foreign = transfer_of(name, 3, 6);
    foreign.mutable_transfer()->mutable_record()->set_service("");
    send(foreign);
    EXPECT_FALSE(answer(2).stored()) << "nobody knows of which service it is";
    send(transfer_of(name, 4, 6));
    EXPECT_TRUE(answer(3).stored()) << "what did not fit has not used it up";
    stores[1]->erase(name);
    send(transfer_of(name, 5, 6));
    EXPECT_FALSE(answer(4).stored()) << "a second time";
    EXPECT_FALSE(stores[1]->contains(name));
}

TEST_F(ForeignTransferTest, AFloodOfThemIsBounded) {
    begin();
    constexpr uint64_t kMany = 2000;
    for (uint64_t i = 1; i <= kMany; i++) send(transfer_of(name_at(3, static_cast<uint8_t>(i)), i, 1000 + i));
    ASSERT_TRUE(run_until(io, [&] { return blade->received.size() >= kMany - Receiver::kMaxEarlyOfOne; }));
    EXPECT_TRUE(
        std::ranges::none_of(blade->received, [](const Envelope& m) { return m.transfer_ack().stored(); }));
    ASSERT_TRUE(run_until(io, [&] { return blade->received.size() == kMany; }));
    EXPECT_EQ(stores[1]->stats().sessions, 0U);
}

TEST_F(ForeignTransferTest, WhatWasPurgedMeanwhileIsDestroyed) {
    begin();
    const SessionName announced = name_at(3, 1), early = name_at(3, 2), later = name_at(3, 3);
    expect(5, announced, 3, 1);
    send(transfer_of(early, 1, 6));
    run_until(io, [] { return false; }, 20);
    purge_all(1, 7);
    send(transfer_of(announced, 2, 5));
    EXPECT_FALSE(answer(0).stored());
    expect(6, early, 3, 1);
    EXPECT_FALSE(answer(1).stored());
    EXPECT_EQ(stores[1]->stats().sessions, 0U);
    expect(8, later, 3, 1);
    send(transfer_of(later, 3, 8));
    EXPECT_TRUE(answer(2).stored()) << "ordered after the purge";
}

TEST_F(AgentTransfers, RepeatedTransferIsStoredOnce) {
    start(1);
    ready({1});
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), BladeId{1});
    ASSERT_TRUE(run_until(io, [&] { return blade.channel != nullptr; }));
    const SessionName name = name_at(3, 1);
    expect(5, name, 3, 1);
    ASSERT_TRUE(blade.channel->send(transfer_of(name, 99)));
    ASSERT_TRUE(run_until(io, [&] { return blade.received.size() == 1; }));
    EXPECT_TRUE(blade.received[0].transfer_ack().stored());
    SessionRecord record;
    ASSERT_TRUE(stores[1]->resume(name, TlsVersion::tls13, wall_clock_ms(), record)) << "used up";
    ASSERT_TRUE(blade.channel->send(transfer_of(name, 99)));
    ASSERT_TRUE(run_until(io, [&] { return blade.received.size() == 2; }));
    EXPECT_TRUE(blade.received[1].transfer_ack().stored()) << "the same answer as before";
    EXPECT_FALSE(stores[1]->contains(name)) << "it could be used a second time";
}

TEST_F(AgentTransfers, BadRecordsAreRefused) {
    start(1);
    ready({1});
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), BladeId{1});
    ASSERT_TRUE(run_until(io, [&] { return blade.channel != nullptr; }));
    std::vector<Envelope> bad(8, transfer_of(name_at(3, 1), 1));
    for (size_t i = 0; i < bad.size(); i++) bad[i].set_request(i + 1);
    bad[0].mutable_transfer()->mutable_record()->set_name("short");
    bad[1].mutable_transfer()->mutable_record()->set_session_der("");
    bad[2].mutable_transfer()->mutable_record()->set_session_der(std::string(kMaxSessionDer + 1, 'x'));
    bad[3].mutable_transfer()->mutable_record()->set_site(std::string(33, 'x'));
    bad[4].mutable_transfer()->mutable_record()->set_tls_version(0x0305);
    bad[5].mutable_transfer()->mutable_record()->set_expires_ms(wall_clock_ms() - 1);
    bad[6].mutable_transfer()->mutable_record()->set_expires_ms(wall_clock_ms() +
                                                                uint64_t{30} * 24 * 3600'000);
    bad[7].set_request(0);
    for (const Envelope& message : bad) ASSERT_TRUE(blade.channel->send(message));
    ASSERT_TRUE(run_until(io, [&] { return blade.received.size() == bad.size(); }));
    for (const Envelope& message : blade.received) {
        EXPECT_FALSE(message.transfer_ack().stored());
        EXPECT_FALSE(message.transfer_ack().reason().empty());
    }
    EXPECT_EQ(stores[1]->stats().sessions, 0U);
}

TEST_F(AgentTransfers, OnlyControlOrdersOnlyBladesTransfer) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), BladeId{1});
    Impostor control_here(io, chassis.tls("control"), local(listen_port[1]), BladeId{1});
    ASSERT_TRUE(run_until(io, [&] { return blade.channel != nullptr; }));
    Envelope order;
    order.mutable_order()->set_order_id(9);
    order.mutable_order()->set_name(bytes_of(name));
    order.mutable_order()->set_to(2);
    ASSERT_TRUE(blade.channel->send(order));
    Envelope ping;
    ping.mutable_ping();
    ASSERT_TRUE(blade.channel->send(ping));
    ASSERT_TRUE(run_until(io, [&] { return !blade.received.empty(); }));
    EXPECT_TRUE(stores[1]->contains(name)) << "a blade's order was carried out";
    EXPECT_TRUE(run_until(io, [&] { return control_here.ended; })) << "control may not connect here";
}

}  // namespace
}  // namespace keyrail
