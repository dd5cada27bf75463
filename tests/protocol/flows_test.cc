// SPDX-License-Identifier: Apache-2.0
// Whose is a connection that keyrail-dp does not know? The real keyraild between a dataplane and agents of
// ours.
#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

using chassis::Envelope;
using link::ToDataplane;
using testing::KeyraildBench;

class KeyraildFlows : public KeyraildBench {
  protected:
    void ask(uint64_t id) {
        link::FromDataplane message;
        auto& flow = *message.mutable_flow_ask();
        flow.set_ask_id(id);
        flow.set_service("www");
        flow.set_client(std::string(4, 'c'));
        flow.set_client_port(4000);
        flow.set_address(std::string(4, 'v'));
        flow.set_port(443);
        flow.set_budget_us(150'000);
        dataplane->send(message);
    }
    /// The latest question that this agent got, answered.
    void say(BladeId blade, chassis::FlowsFound::Presence presence) {
        ASSERT_TRUE(until([&] { return !agents[blade]->of(Envelope::kFindFlows).empty(); }));
        Envelope message;
        auto& answer = *message.mutable_flows_found()->add_answers();
        answer.set_id(agents[blade]->of(Envelope::kFindFlows).back().find_flows().flows(0).id());
        answer.set_presence(presence);
        agents[blade]->send(message);
    }
    std::vector<link::ToDataplane> answers() { return dataplane->of(ToDataplane::kFlowAnswer); }
};

TEST_F(KeyraildFlows, AreLookedForOnEveryBlade) {
    start_whole();
    ask(71);
    say(1, chassis::FlowsFound::ABSENT);
    EXPECT_TRUE(answers().empty());
    say(2, chassis::FlowsFound::PRESENT);
    ASSERT_TRUE(until([&] { return answers().size() == 1; }));
    EXPECT_EQ(answers()[0].flow_answer().ask_id(), 71u);
    EXPECT_EQ(answers()[0].flow_answer().blade(), 2u);
}

TEST_F(KeyraildFlows, OneWhoseAgentIsAwayHasWhatNobodyElseHas) {
    start_whole();
    agents.erase(1);
    ASSERT_TRUE(until([&] { return keyrail({"status"}).json["agents"] == 1; }));
    ask(72);
    say(2, chassis::FlowsFound::ABSENT);
    ASSERT_TRUE(until([&] { return answers().size() == 1; }));
    EXPECT_EQ(answers()[0].flow_answer().blade(), 1u);
}

TEST_F(KeyraildFlows, TheyAreNobodys) {
    start_whole();
    ask(73);
    say(1, chassis::FlowsFound::ABSENT);
    say(2, chassis::FlowsFound::ABSENT);
    ASSERT_TRUE(until([&] { return answers().size() == 1; }));
    EXPECT_EQ(answers()[0].flow_answer().blade(), 0u);
}

}  // namespace
}  // namespace keyrail
