// SPDX-License-Identifier: Apache-2.0
// At most once, whatever happens: every interleaving of moves of one session between two blades, with losses,
// repetitions, broken connections and crashes. KR_EXPLORE=deep allows more of them at once (minutes),
// KR_EXPLORE=quick has only one move on each path (for sanitizers).
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

#include "tests/unit/moves_explorer.h"

namespace keyrail::testing {
namespace {

bool depth_is(std::string_view wanted) {
    const char* depth = std::getenv("KR_EXPLORE");
    return depth && depth == wanted;
}

Explorer::Report explore(const Troubles& troubles, Mistake mistake = Mistake::none) {
    std::vector<Explorer::Wish> wishes = {{1, 2}, {2, 1}};
    if (depth_is("quick")) wishes.pop_back();
    spdlog::set_level(spdlog::level::off);  // a session lost here is nothing to tell of
    Explorer::Report report = Explorer(wishes, troubles, mistake).run();
    std::cout << report.states << " states, " << report.steps << " steps\n";
    return report;
}

std::string story(const Explorer::Report& report) {
    std::string text = report.wrong + ":\n";
    for (const std::string& step : report.path) text += "  " + step + "\n";
    return text;
}

class MovesExplorerTest : public ::testing::TestWithParam<Troubles> {};

TEST_P(MovesExplorerTest, NeverTwoHoldersNothingLeftBehind) {
    const Explorer::Report report = explore(GetParam());
    EXPECT_TRUE(report.wrong.empty()) << story(report);
    EXPECT_GT(report.states, 100u);
}

INSTANTIATE_TEST_SUITE_P(Troubles, MovesExplorerTest,
                         ::testing::Values(Troubles{}, Troubles{.losses = 1}, Troubles{.repeats = 1},
                                           Troubles{.breaks = 1}, Troubles{.crashes = 1}));

TEST(MovesExplorerDeepTest, SeveralTroublesAtOnce) {
    if (!depth_is("deep")) GTEST_SKIP() << "KR_EXPLORE=deep runs it";
    const Explorer::Report report = explore({.losses = 1, .repeats = 1, .breaks = 1, .crashes = 1});
    EXPECT_TRUE(report.wrong.empty()) << story(report);
}

/// It can fail: mistakes that somebody could make are found.
TEST(MovesExplorerSeededTest, PuttingBackInDoubtIsFound) {
    const Explorer::Report report = explore({.breaks = 1}, Mistake::put_back_when_in_doubt);
    EXPECT_FALSE(report.wrong.empty());
}

TEST(MovesExplorerSeededTest, ForgettingTransfersIsFound) {
    const Explorer::Report report = explore({.repeats = 1}, Mistake::every_transfer_is_new);
    EXPECT_EQ(report.wrong, "the session was used, and can be used again") << story(report);
}

}  // namespace
}  // namespace keyrail::testing
