// SPDX-License-Identifier: Apache-2.0
// Agents over real TLS sockets, with a keyraild that is ours: moves with everything that can go wrong in
// them, announcements, health. (The accept program has its own test.)
#include "control/agent/agent.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <set>

#include "control/agent/name_keys.h"
#include "control/agent/receiver.h"
#include "control/store/store.h"
#include "tests/support/agent_names.h"
#include "tests/support/fake_control.h"
#include "tests/support/session_names.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using chassis::Envelope;
using testing::FakeEnd;
using testing::fill;
using testing::kNameKey;
using testing::name_at;
using testing::name_of;
using testing::run_until;
using testing::TestChassis;
using testing::whole;

constexpr uint16_t kServicePort = 45443;
const std::string kReceipt(16, 'r');

class AgentTest : public ::testing::Test {
  protected:
    static constexpr uint16_t kBlades = 3;

    AgentTest() : chassis(kBlades), control(std::make_unique<FakeEnd>(io, chassis.tls("control"))) {
        control_port = control->address().port;
        for (uint16_t id = 1; id <= kBlades; id++) listen_port[id] = testing::free_port();
    }
    ~AgentTest() override {
        agents.clear();
        control.reset();
        run_until(io, [] { return false; }, 20);  // what is left of the coroutines ends
    }

    [[nodiscard]] HostPort local(uint16_t port) const { return {*parse_ip("127.0.0.1"), port}; }
    [[nodiscard]] std::string store_path(uint16_t id) const {
        return (chassis.directory() / ("store" + std::to_string(id))).string();
    }

    void start(uint16_t id) {
        AgentConfig config;
        config.id = id;
        config.control = local(control_port);
        config.listen = local(listen_port[id]);
        config.interface = "lo";
        config.tls = chassis.files("blade-" + std::to_string(id));
        config.store = store_path(id);
        config.store_bytes = store_bytes;
        config.accept_program = false;
        auto agent = Agent::start(io, config);
        ASSERT_TRUE(agent) << agent.error().message;
        agents[id] = std::move(*agent);
        stores.insert_or_assign(id, std::make_unique<Store>(std::move(*Store::open(store_path(id)))));
    }

    Envelope keys_for(uint16_t id) {
        Envelope message;
        auto& keys = *message.mutable_keys();
        keys.set_blade_id(id);
        auto& name_key = *keys.add_name_keys();
        name_key.set_key(std::string(kNameKey.begin(), kNameKey.end()));
        name_key.set_current(true);
        auto& service = *keys.add_services();
        service.set_name("www");
        service.add_addresses("127.0.0.1");
        service.set_port(kServicePort);
        service.set_session_lifetime_s(1234);
        for (uint16_t peer = 1; peer <= kBlades; peer++) {
            auto& entry = *keys.add_peers();
            entry.set_blade_id(peer);
            entry.set_address(local(listen_port[peer]).text());
        }
        return message;
    }

    /// Connected, with keys, and with a health report.
    void ready(std::initializer_list<uint16_t> ids) {
        for (const uint16_t id : ids) {
            ASSERT_TRUE(run_until(io, [&] { return !control->of(id, Envelope::kAgentHello).empty(); }));
            ASSERT_TRUE(control->channels[id]->send(keys_for(id)));
        }
        for (const uint16_t id : ids)
            ASSERT_TRUE(run_until(io, [&] { return !control->of(id, Envelope::kHealth).empty(); }));
    }

    void put(uint16_t blade, const SessionName& name, uint16_t port = 0, const char* service = "www") {
        SessionRecord record;
        fill(record, 12, 700);
        record.name = name;
        record.port = port;
        record.service = *service != 0 ? service_id(service) : 0;
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3600'000;
        ASSERT_EQ(stores[blade]->put(record), Store::Put::kStored);
    }

    /// Both halves, as keyraild sends them.
    void order(uint64_t id, const SessionName& name, uint16_t from, uint16_t to,
               uint32_t budget_us = 500'000) {
        Envelope message;
        auto& body = *message.mutable_order();
        body.set_order_id(id);
        body.set_name(bytes_of(name));
        body.set_to(to);
        body.set_budget_us(budget_us);
        body.add_services("www");
        ASSERT_TRUE(control->channels[from]->send(message));
        expect(id, name, from, to);
    }
    void expect(uint64_t id, const SessionName& name, uint16_t from, uint16_t to) {
        if (!control->channels.contains(to)) return;
        Envelope message;
        auto& body = *message.mutable_expect();
        body.set_order_id(id);
        body.set_name(bytes_of(name));
        body.set_from(from);
        body.add_services("www");
        body.set_receipt(kReceipt);
        ASSERT_TRUE(control->channels[to]->send(message));
    }
    void purge_all(uint16_t blade, uint64_t number) {
        Envelope message;
        message.set_request(77);
        message.mutable_purge()->set_all(true);
        message.mutable_purge()->set_number(number);
        const size_t before = control->of(blade, Envelope::kPurgeReply).size();
        ASSERT_TRUE(control->channels[blade]->send(message));
        ASSERT_TRUE(run_until(io, [&] { return control->of(blade, Envelope::kPurgeReply).size() > before; }));
    }

    /// How an order ended, as this blade says; the deadline is longer than the agents' own.
    chassis::MoveDone done(uint16_t blade, uint64_t id) {
        chassis::MoveDone found;
        EXPECT_TRUE(run_until(io,
                              [&] {
                                  for (const Envelope& message : control->of(blade, Envelope::kMoveDone)) {
                                      if (message.move_done().order_id() != id) continue;
                                      found = message.move_done();
                                      return true;
                                  }
                                  return false;
                              }))
            << "blade " << blade << " says nothing about order " << id;
        return found;
    }

    uint64_t store_bytes = 4 << 20;
    asio::io_context io{1};
    TestChassis chassis;
    std::unique_ptr<FakeEnd> control;
    uint16_t control_port = 0;
    std::map<uint16_t, uint16_t> listen_port;
    std::map<uint16_t, std::unique_ptr<Agent>> agents;
    std::map<uint16_t, std::unique_ptr<Store>> stores;
};

TEST_F(AgentTest, TellsTheHooksWhatKeyraildAssigned) {
    start(1);
    ready({1});
    StoreControl told;
    ASSERT_TRUE(stores[1]->control().read([&](const StoreControl& now) { told = now; }));
    EXPECT_EQ(told.blade_id, 1);
    EXPECT_EQ(told.name_key_count, 1);
    EXPECT_EQ(told.name_keys[0].key, kNameKey);
    EXPECT_EQ(told.services[0].service, service_id("www"));
    EXPECT_EQ(told.services[0].lifetime_s, 1234U);
    const auto hello = control->of(1, Envelope::kAgentHello)[0].agent_hello();
    EXPECT_EQ(hello.agent_address(), local(listen_port[1]).text());
    EXPECT_FALSE(hello.accept_program());
    EXPECT_TRUE(control->of(1, Envelope::kAnnounce)[0].announce().reset());
}

TEST_F(AgentTest, KeysOfAnotherBladeAreNotUsed) {
    start(1);
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kAnnounce).empty(); }));
    ASSERT_TRUE(control->channels[1]->send(keys_for(2)));
    EXPECT_FALSE(run_until(io, [&] { return stores[1]->control().version() != 0; }, 100));
}

TEST_F(AgentTest, MovesThereAndBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name, kServicePort);
    order(7, name, 1, 2);
    const auto moved = done(2, 7);
    EXPECT_EQ(moved.result(), chassis::MOVED);
    EXPECT_GT(moved.expires_ms(), wall_clock_ms());
    EXPECT_FALSE(stores[1]->contains(name));
    const auto there = stores[2]->peek(name);
    ASSERT_TRUE(there);
    EXPECT_TRUE(there->moved_in);
    EXPECT_EQ(std::string(there->receipt.begin(), there->receipt.end()), kReceipt);
    EXPECT_EQ(there->port, kServicePort);
    SessionRecord record;
    ASSERT_TRUE(stores[2]->copy(name, record));
    EXPECT_EQ(record.der_size, 700);

    order(8, name, 2, 1);
    EXPECT_EQ(done(1, 8).result(), chassis::MOVED);
    EXPECT_FALSE(stores[2]->contains(name));
    EXPECT_FALSE(stores[1]->peek(name)->moved_in) << "it is at home again";
    EXPECT_TRUE(control->of(1, Envelope::kMoveDone).size() == 1) << "MOVED is the target's word only";
}

TEST_F(AgentTest, ManyMovesAtOnce) {
    start(1);
    start(2);
    ready({1, 2});
    constexpr uint8_t kMany = 200;
    for (uint8_t i = 0; i < kMany; i++) put(1, name_at(1, i));
    for (uint8_t i = 0; i < kMany; i++) order(100 + i, name_at(1, i), 1, 2);
    ASSERT_TRUE(run_until(io, [&] { return control->of(2, Envelope::kMoveDone).size() == kMany; }));
    EXPECT_EQ(stores[1]->stats().sessions, 0U);
    EXPECT_EQ(stores[2]->stats().sessions, kMany);
}

TEST_F(AgentTest, WhatIsNotThereIsNotFound) {
    start(1);
    start(2);
    ready({1, 2});
    order(7, name_at(1, 9), 1, 2);
    EXPECT_EQ(done(1, 7).result(), chassis::NOT_FOUND);
}

TEST_F(AgentTest, StoredAMomentAfterTheClientCameBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 9);
    order(7, name, 1, 2);
    asio::steady_timer moment(io, std::chrono::milliseconds(2));
    moment.async_wait([&](const asio::error_code&) { put(1, name); });
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

TEST_F(AgentTest, RefusedIsPutBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name, kServicePort + 1);  // no such service at the target
    order(7, name, 1, 2);
    const auto refused = done(1, 7);
    EXPECT_EQ(refused.result(), chassis::REFUSED);
    EXPECT_NE(refused.reason().find("no service on port"), std::string::npos) << refused.reason();
    EXPECT_TRUE(stores[1]->contains(name));
    EXPECT_FALSE(stores[2]->contains(name));
}

/// A session of a server that hides its socket, on a blade with several services.
TEST_F(AgentTest, WhoseServiceIsNotKnownStays) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name, 0, "");
    order(7, name, 1, 2);
    EXPECT_EQ(done(1, 7).result(), chassis::REFUSED);
    EXPECT_TRUE(stores[1]->contains(name));
    EXPECT_FALSE(stores[2]->contains(name));
}

TEST_F(AgentTest, SaysWhetherItWasUsedUp) {
    start(1);
    start(2);
    ready({1, 2});
    SessionRecord record;
    fill(record, 13, 300);
    record.name = name_at(1, 1);
    record.expires_ms = wall_clock_ms() + 3600'000;
    ASSERT_EQ(stores[1]->put(record), Store::Put::kStored);
    SessionRecord used;
    ASSERT_TRUE(stores[1]->resume(record.name, 0x0304, wall_clock_ms(), used));
    order(7, record.name, 1, 2);
    EXPECT_EQ(done(1, 7).fate(), chassis::USED_UP) << "at once, before the journal is read in its time";
    order(8, name_at(1, 2), 1, 2);
    const auto unseen = done(1, 8);
    EXPECT_EQ(unseen.fate(), chassis::NOT_USED);
    EXPECT_GT(unseen.epoch(), 0U);
}

TEST_F(AgentTest, TellsOfWhatIsGoneUntilItIsAcknowledged) {
    start(1);
    ready({1});
    put(1, name_at(1, 1));
    ASSERT_TRUE(stores[1]->erase(name_at(1, 1)));
    const auto gone = [&] {
        std::vector<uint64_t> numbers;
        for (const Envelope& message : control->of(1, Envelope::kCheckpoint))
            for (const auto& state : message.checkpoint().sessions())
                if (state.gone() && state.name() == bytes_of(name_at(1, 1)))
                    numbers.push_back(message.request());
        return numbers;
    };
    ASSERT_TRUE(run_until(io, [&] { return gone().size() == 1; }));
    EXPECT_NE(gone()[0], 0U);
    const auto reconnect = [&] {
        control = nullptr;
        control = std::make_unique<FakeEnd>(io, chassis.tls("control"), control_port);
        ready({1});
    };
    reconnect();
    ASSERT_TRUE(run_until(io, [&] { return gone().size() == 1; }))
        << "it was under way when the connection broke";
    Envelope ack;
    ack.set_request(gone()[0]);
    ack.mutable_checkpoint_ack();
    ASSERT_TRUE(control->channels[1]->send(ack));
    run_until(io, [] { return false; }, 50);
    reconnect();
    EXPECT_FALSE(run_until(io, [&] { return !gone().empty(); }, 400));
}

TEST_F(AgentTest, UnreachableStays) {
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    order(7, name, 1, 2, 50'000);
    EXPECT_EQ(done(1, 7).result(), chassis::UNREACHABLE);
    EXPECT_TRUE(stores[1]->contains(name));
    order(8, name, 1, 77, 50'000);
    EXPECT_EQ(done(1, 8).result(), chassis::UNREACHABLE) << "a blade that is not known";
    EXPECT_TRUE(stores[1]->contains(name));
}

TEST_F(AgentTest, NoAcknowledgementDestroys) {
    FakeEnd silent(io, chassis.tls("blade-2"), listen_port[2]);
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    order(7, name, 1, 2);
    const auto lost = done(1, 7);
    EXPECT_EQ(lost.result(), chassis::LOST);
    EXPECT_FALSE(stores[1]->contains(name));
    EXPECT_EQ(silent.of(1, Envelope::kTransfer).size(), 1U) << "sent once, and never again";
}

TEST_F(AgentTest, BrokenConnectionDestroysAtOnce) {
    FakeEnd breaking(io, chassis.tls("blade-2"), listen_port[2]);
    breaking.handler = [](const ChannelPtr& channel, const Envelope& message) {
        if (message.has_transfer()) channel->close();
    };
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    const auto begin = std::chrono::steady_clock::now();
    order(7, name, 1, 2);
    EXPECT_EQ(done(1, 7).result(), chassis::LOST);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
    EXPECT_FALSE(stores[1]->contains(name));
}

TEST_F(AgentTest, AcknowledgementOfAnotherTransferIsIgnored) {
    FakeEnd lying(io, chassis.tls("blade-2"), listen_port[2]);
    lying.handler = [](const ChannelPtr& channel, const Envelope& message) {
        Envelope answer;
        answer.set_request(message.request() + 1);
        answer.mutable_transfer_ack()->set_order_id(message.transfer().order_id());
        answer.mutable_transfer_ack()->set_stored(false);
        EXPECT_TRUE(channel->send(answer));
    };
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    order(7, name, 1, 2);
    EXPECT_EQ(done(1, 7).result(), chassis::LOST);
    EXPECT_FALSE(stores[1]->contains(name)) << "put back without the target's word";
}

TEST_F(AgentTest, RepeatedOrderIsCarriedOutOnce) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    order(7, name, 1, 2);
    order(7, name, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
    put(1, name);  // were the order carried out again, this one would go too
    order(7, name, 1, 2);
    order(8, name_at(1, 2), 1, 2);
    EXPECT_EQ(done(1, 8).result(), chassis::NOT_FOUND);
    EXPECT_TRUE(stores[1]->contains(name));
    EXPECT_TRUE(std::ranges::none_of(control->of(1, Envelope::kMoveDone), [](const Envelope& message) {
        return message.move_done().order_id() == 7;
    }));
}

/// An agent's connection that is ours: blade 3 by its certificate.
class Impostor {
  public:
    Impostor(asio::io_context& io, const TlsContext& tls, HostPort to, uint16_t expected) {
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
    asio::awaitable<void> run(asio::io_context& io, TlsContext tls, HostPort to, uint16_t expected,
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
    record.set_tls_version(0x0304);
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
class ForeignTransferTest : public AgentTest {
  protected:
    void begin() {
        start(1);
        ready({1});
        blade = std::make_unique<Impostor>(io, chassis.tls("blade-3"), local(listen_port[1]), 1);
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

TEST_F(AgentTest, RepeatedTransferIsStoredOnce) {
    start(1);
    ready({1});
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), 1);
    ASSERT_TRUE(run_until(io, [&] { return blade.channel != nullptr; }));
    const SessionName name = name_at(3, 1);
    expect(5, name, 3, 1);
    ASSERT_TRUE(blade.channel->send(transfer_of(name, 99)));
    ASSERT_TRUE(run_until(io, [&] { return blade.received.size() == 1; }));
    EXPECT_TRUE(blade.received[0].transfer_ack().stored());
    SessionRecord record;
    ASSERT_TRUE(stores[1]->resume(name, 0x0304, wall_clock_ms(), record)) << "used up";
    ASSERT_TRUE(blade.channel->send(transfer_of(name, 99)));
    ASSERT_TRUE(run_until(io, [&] { return blade.received.size() == 2; }));
    EXPECT_TRUE(blade.received[1].transfer_ack().stored()) << "the same answer as before";
    EXPECT_FALSE(stores[1]->contains(name)) << "it could be used a second time";
}

TEST_F(AgentTest, BadRecordsAreRefused) {
    start(1);
    ready({1});
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), 1);
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

TEST_F(AgentTest, OnlyControlOrdersOnlyBladesTransfer) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    Impostor blade(io, chassis.tls("blade-3"), local(listen_port[1]), 1);
    Impostor control_here(io, chassis.tls("control"), local(listen_port[1]), 1);
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

TEST_F(AgentTest, AnnouncesWhatMovedInAfterKeyraildComesBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName moved = name_at(1, 1), native = name_at(2, 2);
    put(1, moved);
    put(2, native);
    order(7, moved, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
    control = nullptr;
    const auto begin = std::chrono::steady_clock::now();
    control = std::make_unique<FakeEnd>(io, chassis.tls("control"), control_port);
    ASSERT_TRUE(run_until(io, [&] { return !control->of(2, Envelope::kAnnounce).empty(); }));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
    const auto announce = control->of(2, Envelope::kAnnounce)[0].announce();
    EXPECT_TRUE(announce.reset());
    ASSERT_EQ(announce.held_size(), 1);
    EXPECT_EQ(announce.held(0).name(), bytes_of(moved));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(2, Envelope::kHealth).empty(); }));
    // Order numbers of the new keyraild are new ones, also where they look like old ones.
    ASSERT_TRUE(run_until(io, [&] { return control->channels.contains(1); }));
    order(7, moved, 2, 1);
    EXPECT_EQ(done(1, 7).result(), chassis::MOVED);
}

TEST_F(AgentTest, AnnouncesManyInBatches) {
    start(1);
    ready({1});
    SessionRecord record;
    fill(record, 1, 100);
    record.moved_in = true;
    for (uint64_t i = 0; i < 5000; i++) {
        record.name = name_of(i);
        ASSERT_EQ(stores[1]->put(record), Store::Put::kStored);
    }
    control = nullptr;
    control = std::make_unique<FakeEnd>(io, chassis.tls("control"), control_port);
    int held = 0;
    ASSERT_TRUE(run_until(io, [&] {
        held = 0;
        for (const Envelope& message : control->of(1, Envelope::kAnnounce))
            held += message.announce().held_size();
        return held >= 5000;
    }));
    EXPECT_EQ(held, 5000);
    int resets = 0;
    for (const Envelope& message : control->of(1, Envelope::kAnnounce)) resets += message.announce().reset();
    EXPECT_EQ(resets, 1);
}

TEST_F(AgentTest, RestartedAgentHasItsSessions) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    control->received.clear();
    start(1);
    ready({1});
    order(7, name, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

TEST_F(AgentTest, AStoreOfAnotherSizeHasTheSessions) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    const auto server = Store::open(store_path(1));
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    control->received.clear();
    store_bytes = 8 << 20;
    start(1);
    EXPECT_TRUE(server->retired());
    ready({1});
    order(7, name, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

/// The abstract names of the servers' sockets that are bound on this machine.
std::set<std::string> pull_sockets() {
    std::set<std::string> found;
    std::ifstream table("/proc/net/unix");
    for (std::string line; std::getline(table, line);)
        if (const auto at = line.find("@keyrail-pull-"); at != std::string::npos)
            found.insert(line.substr(at + 1));
    return found;
}

/// Any user of the machine may bind an abstract name that nobody has.
TEST_F(AgentTest, StartsThoughSomebodyTookItsSocketsName) {
    const std::set<std::string> before = pull_sockets();
    start(1);
    ready({1});
    std::set<std::string> names = pull_sockets();
    std::erase_if(names, [&](const std::string& name) { return before.contains(name); });
    ASSERT_FALSE(names.empty());
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    std::vector<int> squatters;
    for (const std::string& name : names) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(name, &address.sun_path[1]);
        const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) (void)listen(fd, 1);
        squatters.push_back(fd);
    }
    control->received.clear();
    start(1);
    ready({1});
    EXPECT_FALSE(std::ranges::includes(names, pull_sockets())) << "it has another one";
    for (const int fd : squatters) close(fd);
}

/// A process of the servers' group takes every lock of the store, and keeps them.
TEST_F(AgentTest, HeldLocksHoldUpNobodyAndMakeANewStore) {
    start(1);
    ready({1});
    put(1, name_at(1, 1));
    const testing::StoreMemory hostile(store_path(1));
    hostile.set_locks(1);
    for (uint64_t request = 1; request <= 5; request++) {
        Envelope ping;
        ping.set_request(request);
        ping.mutable_ping();
        ASSERT_TRUE(control->channels[1]->send(ping));
        EXPECT_TRUE(run_until(
            io,
            [&] {
                const auto pongs = control->of(1, Envelope::kPong);
                return !pongs.empty() && pongs.back().request() == request;
            },
            1000))
            << "keyraild takes it for dead";
    }
    ASSERT_TRUE(run_until(io, [&] { return stores[1]->retired(); })) << "servers cannot go on";
    stores[1] = std::make_unique<Store>(std::move(*stores[1]->successor()));
    put(1, name_at(1, 2));
    Envelope message;
    message.set_request(9);
    message.mutable_query()->set_name(bytes_of(name_at(1, 2)));
    ASSERT_TRUE(control->channels[1]->send(message));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kQueryReply).empty(); }));
    EXPECT_TRUE(control->of(1, Envelope::kQueryReply).back().query_reply().held());
}

TEST_F(AgentTest, APurgeOfAStoreWithHeldLocksIsNotDone) {
    start(1);
    ready({1});
    put(1, name_at(1, 1));
    const testing::StoreMemory hostile(store_path(1));
    for (const uint32_t holder : {1, 0}) {
        hostile.set_locks(holder);
        purge_all(1, 7);
        const auto reply = control->of(1, Envelope::kPurgeReply).back().purge_reply();
        EXPECT_EQ(reply.held(), holder == 0 ? 0 : hostile.geometry().shards);
        EXPECT_EQ(reply.purged(), holder == 0 ? 1U : 0U);
    }
    EXPECT_FALSE(stores[1]->contains(name_at(1, 1)));
}

TEST_F(AgentTest, AnswersQueries) {
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    for (const auto& [asked, request] : {std::pair(name, 5), {name_at(1, 2), 6}}) {
        Envelope message;
        message.set_request(static_cast<uint64_t>(request));
        message.mutable_query()->set_name(bytes_of(asked));
        ASSERT_TRUE(control->channels[1]->send(message));
    }
    ASSERT_TRUE(run_until(io, [&] { return control->of(1, Envelope::kQueryReply).size() == 2; }));
    const auto replies = control->of(1, Envelope::kQueryReply);
    EXPECT_EQ(replies[0].request(), 5U);
    EXPECT_TRUE(replies[0].query_reply().held());
    EXPECT_FALSE(replies[1].query_reply().held());
}

TEST_F(AgentTest, SaysWhichFlowsItsKernelHas) {
    start(1);
    ready({1});
    Envelope question;
    auto& flow = *question.mutable_find_flows()->add_flows();
    flow.set_id(77);
    flow.set_client(std::string({127, 0, 0, 1}));
    flow.set_client_port(control_port);  // somebody listens there, and that is no connection
    flow.set_address(std::string({127, 0, 0, 1}));
    flow.set_port(control_port);
    ASSERT_TRUE(control->channels[1]->send(question));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kFlowsFound).empty(); }));
    const auto found = control->of(1, Envelope::kFlowsFound)[0].flows_found();
    ASSERT_EQ(found.answers_size(), 1);
    EXPECT_EQ(found.answers(0).id(), 77U);
    EXPECT_EQ(found.answers(0).presence(), chassis::FlowsFound::ABSENT);
}

TEST_F(AgentTest, SaysAtOnceWhenAServerComesAndGoes) {
    start(1);
    ready({1});
    const auto says = [&](bool listening) {
        const auto reports = control->of(1, Envelope::kHealth);
        const auto& servers = reports.back().health().servers();
        return servers.size() == 1 && servers[0].port() == kServicePort &&
               servers[0].listening() == listening;
    };
    ASSERT_TRUE(run_until(io, [&] { return says(false); }));
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kServicePort);
    ASSERT_EQ(bind(server, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(server, 1), 0);
    ASSERT_TRUE(run_until(io, [&] { return says(true); }, 900));
    run_until(io, [] { return false; }, 30);  // well between two looks of the watch
    close(server);
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(run_until(io, [&] { return says(false); }, 900));
    RecordProperty("noticed_us", static_cast<int>((std::chrono::steady_clock::now() - begin).count() / 1000));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100))
        << "the kernel says so at once";
}

}  // namespace
}  // namespace keyrail
