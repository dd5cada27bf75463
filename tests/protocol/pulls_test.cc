// SPDX-License-Identifier: Apache-2.0
// What keyraild makes of a pull: who may have the session, and what its holder is told of it.
#include <gmock/gmock.h>

#include "tests/support/keyraild_bench.h"

namespace keyrail::testing {
namespace {

using chassis::Envelope;
using ::testing::HasSubstr;

class Pulls : public KeyraildBench {
  protected:
    static constexpr const char* kPools =
        "[[pool]]\nname = \"second\"\nblades = [2]\n"
        "[[service]]\nname = \"mail\"\naddresses = [\"198.51.100.2\"]\nport = 465\npool = \"second\"\n";

    /// As the agent of `blade` does when a server of its misses the session.
    void pull(BladeId blade, const std::string& name, const std::string& service) {
        Envelope message;
        message.set_request(77);
        message.mutable_pull()->set_name(name);
        message.mutable_pull()->set_service(service);
        message.mutable_pull()->set_budget_us(2000);
        agents[blade]->send(message);
    }
    /// The first answer of keyraild.
    chassis::MoveResult answer(BladeId blade) {
        require([&] { return !agents[blade]->of(Envelope::kPullReply).empty(); }, "the pull is answered");
        return agents[blade]->of(Envelope::kPullReply)[0].pull_reply().result();
    }
    uint64_t moves(const char* figure) { return keyrail({"stats"}).json["moves"][figure].get<uint64_t>(); }
    void checkpoint(BladeId blade, const std::string& name, uint32_t uses) {
        Envelope message;
        chassis::SessionState& state = *message.mutable_checkpoint()->add_sessions();
        state.set_name(name);
        state.set_uses(uses);
        state.set_digest(std::string(32, 'd'));
        state.set_expires_ms(in_an_hour_ms());
        agents[blade]->send(message);
    }
};

TEST_F(Pulls, ABladeThatDoesNotServeTheServiceIsRefusedCountedAndNamed) {
    write_config(good_config() + kPools);
    start_whole();
    pull(1, name_of(2), "mail");
    EXPECT_EQ(answer(1), chassis::REFUSED);
    EXPECT_TRUE(agents[2]->of(Envelope::kOrder).empty());
    EXPECT_EQ(moves("refused_not_authorised"), 1u);
    EXPECT_THAT(daemon->log(), HasSubstr("blade 1 asks for a session of service 'mail'"));
    pull(1, name_of(2), "no such");
    ASSERT_TRUE(until([&] { return agents[1]->of(Envelope::kPullReply).size() == 2; }));
    EXPECT_EQ(moves("refused_not_authorised"), 2u);
}

TEST_F(Pulls, OneThatServesItHasTheSessionMoved) {
    start_whole();
    pull(1, name_of(2), "www");
    ASSERT_TRUE(until([&] { return agents[2]->of(Envelope::kOrder).size() == 1; }));
    const chassis::Order order = agents[2]->of(Envelope::kOrder)[0].order();
    EXPECT_EQ(order.to(), 1u);
    EXPECT_EQ(order.floor_uses(), 0u) << "nothing is known of it";
    agents[1]->done(order.order_id(), chassis::MOVED, in_an_hour_ms());
    EXPECT_EQ(answer(1), chassis::MOVED);
    EXPECT_EQ(moves("refused_not_authorised"), 0u);
}

TEST_F(Pulls, ContentThatMayNotMoveDoesNot) {
    write_config(good_config() +
                 "content_moves = false\n[[service.route]]\nsni = \"img.test\"\npool = \"second\"\n" +
                 "[[pool]]\nname = \"second\"\nblades = [3]\n");
    std::ofstream(config_file(), std::ios::app)
        << "[[blade]]\nid = 3\nname = \"b3\"\naddress = \"127.0.1.3\"\nagent = \"127.0.1.3:7401\"\n";
    start_whole();
    connect_agent(3);
    pull(3, name_of(1), "www");
    EXPECT_EQ(answer(3), chassis::REFUSED);
    EXPECT_TRUE(agents[1]->of(Envelope::kOrder).empty());
}

TEST_F(Pulls, TheHolderHearsOfTheLatestState) {
    start_whole();
    const std::string name = name_of(2);
    checkpoint(2, name, 3);
    ASSERT_TRUE(until([&] { return keyrail({"stats"}).json["checkpoints"]["sessions"] == 1; }));
    pull(1, name, "www");
    ASSERT_TRUE(until([&] { return agents[2]->of(Envelope::kOrder).size() == 1; }));
    const chassis::Order order = agents[2]->of(Envelope::kOrder)[0].order();
    EXPECT_EQ(order.floor_uses(), 3u);
    EXPECT_EQ(order.floor_digest(), std::string(32, 'd'));
}

}  // namespace
}  // namespace keyrail::testing
