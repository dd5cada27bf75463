// SPDX-License-Identifier: Apache-2.0
// Agents move sessions, with everything that can go wrong in it.
#include "tests/support/agent_test.h"
#include "tests/support/arrival_listener.h"

namespace keyrail {
namespace {

class AgentMoves : public testing::AgentBench {};

TEST_F(AgentMoves, MovesThereAndBack) {
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

/// Whoever waits for it hears of it at once, and nobody hears of what did not arrive.
TEST_F(AgentMoves, ThoseWhoWaitAreToldThatItHasArrived) {
    start(1);
    start(2);
    ready({1, 2});
    const testing::ArrivalListener listener;
    put(1, name_at(1, 1));
    order(7, name_at(1, 1), 1, 2, 500'000, {11, 22, listener.port()});
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
    const auto arrival = listener.wait_for_one(10'000);
    ASSERT_TRUE(arrival);
    EXPECT_EQ(arrival->move_id, 11u);
    EXPECT_EQ(arrival->token, 22u);
    order(8, name_at(1, 2), 1, 2, 500'000, {12, 23, listener.port()});
    EXPECT_EQ(done(1, 8).result(), chassis::NOT_FOUND);
    put(1, name_at(1, 3));
    order(9, name_at(1, 3), 1, 2);  // nobody waits
    EXPECT_EQ(done(2, 9).result(), chassis::MOVED);
    EXPECT_FALSE(listener.take());
}

TEST_F(AgentMoves, ManyMovesAtOnce) {
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

TEST_F(AgentMoves, WhatIsNotThereIsNotFound) {
    start(1);
    start(2);
    ready({1, 2});
    order(7, name_at(1, 9), 1, 2);
    EXPECT_EQ(done(1, 7).result(), chassis::NOT_FOUND);
}

TEST_F(AgentMoves, StoredAMomentAfterTheClientCameBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 9);
    order(7, name, 1, 2);
    asio::steady_timer moment(io, std::chrono::milliseconds(2));
    moment.async_wait([&](const asio::error_code&) { put(1, name); });
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

TEST_F(AgentMoves, RefusedIsPutBack) {
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
TEST_F(AgentMoves, WhoseServiceIsNotKnownStays) {
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

TEST_F(AgentMoves, SaysWhetherItWasUsedUp) {
    start(1);
    start(2);
    ready({1, 2});
    SessionRecord record;
    fill(record, 13, 300);
    record.name = name_at(1, 1);
    record.expires_ms = wall_clock_ms() + 3600'000;
    ASSERT_EQ(stores[1]->put(record), Store::Put::kStored);
    SessionRecord used;
    ASSERT_TRUE(stores[1]->resume(record.name, TlsVersion::tls13, wall_clock_ms(), used));
    order(7, record.name, 1, 2);
    EXPECT_EQ(done(1, 7).fate(), chassis::USED_UP) << "at once, before the journal is read in its time";
    order(8, name_at(1, 2), 1, 2);
    const auto unseen = done(1, 8);
    EXPECT_EQ(unseen.fate(), chassis::NOT_USED);
    EXPECT_GT(unseen.epoch(), 0U);
}

TEST_F(AgentMoves, TellsOfWhatIsGoneUntilItIsAcknowledged) {
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

TEST_F(AgentMoves, UnreachableStays) {
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

/// Nobody was there for so long that attempts are a second apart.
TEST_F(AgentMoves, AnOrderDoesNotWaitForTheNextAttempt) {
    start(1);
    ready({1});
    run_until(io, [] { return false; }, 3000);
    start(2);
    ready({2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    order(7, name, 1, 2, 100'000);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

TEST_F(AgentMoves, NoAcknowledgementDestroys) {
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

TEST_F(AgentMoves, BrokenConnectionDestroysAtOnce) {
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

TEST_F(AgentMoves, AcknowledgementOfAnotherTransferIsIgnored) {
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

TEST_F(AgentMoves, RepeatedOrderIsCarriedOutOnce) {
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

}  // namespace
}  // namespace keyrail
