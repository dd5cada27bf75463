// SPDX-License-Identifier: Apache-2.0
// At most once, whatever happens: every interleaving of moves of one session between two blades, with losses,
// repetitions, broken connections, crashes, blades that are cut off, a repository, pulls and purges.
// KR_EXPLORE=deep allows more of them at once (long), KR_EXPLORE=quick less (for sanitizers).
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

Explorer::Report explore(Troubles troubles, Mistake mistake = Mistake::none) {
    if (depth_is("quick")) troubles.moves = std::min<size_t>(troubles.moves, 1);
    spdlog::set_level(spdlog::level::off);  // a session lost here is nothing to tell of
    Explorer::Report report = Explorer(troubles, mistake).run();
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
    const Troubles& t = GetParam();
    const bool many_states =
        (t.repository && t.pulls > 0) || t.pulls > 1 || t.restarts > 0 || (t.breaks > 0 && t.purges > 0);
    if (many_states && depth_is("quick")) GTEST_SKIP() << "KR_EXPLORE=quick leaves it out";
    const Explorer::Report report = explore(GetParam());
    EXPECT_TRUE(report.wrong.empty()) << story(report);
    EXPECT_GT(report.states, 50u);
}

INSTANTIATE_TEST_SUITE_P(Troubles, MovesExplorerTest,
                         ::testing::Values(Troubles{}, Troubles{.losses = 1},
                                           Troubles{.repeats = 1, .moves = 1},
                                           Troubles{.breaks = 1, .in_pieces = true, .moves = 1},
                                           Troubles{.crashes = 1, .moves = 1},
                                           Troubles{.restarts = 1, .in_pieces = true, .moves = 1}));
INSTANTIATE_TEST_SUITE_P(Pulls, MovesExplorerTest,
                         ::testing::Values(Troubles{.pulls = 2, .moves = 0},
                                           Troubles{.breaks = 1, .pulls = 1, .moves = 0}));
INSTANTIATE_TEST_SUITE_P(
    Purges, MovesExplorerTest,
    ::testing::Values(Troubles{.purges = 1, .moves = 1},
                      Troubles{.breaks = 1, .resumes = 0, .purges = 1, .moves = 1},
                      Troubles{.resumes = 0, .pulls = 1, .purges = 1, .repository = true, .moves = 0},
                      Troubles{.restarts = 1, .resumes = 0, .purges = 1, .moves = 1},
                      Troubles{.restarts = 1, .resumes = 0, .purges = 1, .repository = true, .moves = 0}));
INSTANTIATE_TEST_SUITE_P(
    Repository, MovesExplorerTest,
    ::testing::Values(Troubles{.resumes = 2, .repository = true, .moves = 1},
                      Troubles{.breaks = 1, .pulls = 1, .in_pieces = true, .repository = true, .moves = 0},
                      Troubles{.crashes = 1, .pulls = 1, .repository = true, .moves = 0},
                      Troubles{.restarts = 1, .pulls = 1, .repository = true, .moves = 0},
                      Troubles{.pulls = 1, .cuts = 1, .repository = true, .moves = 0},
                      Troubles{.resumes = 0, .cuts = 1, .repository = true, .reusable = true, .moves = 1}));

/// Takes long: each of them minutes to an hour.
class MovesExplorerDeepTest : public ::testing::TestWithParam<Troubles> {};

TEST_P(MovesExplorerDeepTest, SeveralTroublesAtOnce) {
    if (!depth_is("deep")) GTEST_SKIP() << "KR_EXPLORE=deep runs it";
    const Explorer::Report report = explore(GetParam());
    EXPECT_TRUE(report.wrong.empty()) << story(report);
}

INSTANTIATE_TEST_SUITE_P(
    Deep, MovesExplorerDeepTest,
    ::testing::Values(
        Troubles{.repeats = 1}, Troubles{.breaks = 1}, Troubles{.crashes = 1}, Troubles{.restarts = 1},
        Troubles{.losses = 1, .repeats = 1, .breaks = 1, .moves = 1},
        Troubles{.breaks = 1, .crashes = 1, .restarts = 1, .moves = 1},
        Troubles{.breaks = 1, .resumes = 2, .pulls = 1, .in_pieces = true, .repository = true, .moves = 1},
        Troubles{.crashes = 1, .resumes = 2, .pulls = 1, .in_pieces = true, .repository = true, .moves = 0},
        Troubles{.restarts = 1, .resumes = 2, .pulls = 1, .in_pieces = true, .repository = true, .moves = 1},
        Troubles{.resumes = 2, .pulls = 1, .cuts = 1, .in_pieces = true, .repository = true, .moves = 1},
        Troubles{.breaks = 1, .purges = 1, .repository = true, .moves = 2},
        Troubles{.breaks = 1, .resumes = 0, .cuts = 1, .repository = true, .reusable = true, .moves = 2}));

/// It can fail: mistakes that somebody could make are found.
struct Seed {
    Mistake mistake;
    Troubles troubles;
    const char* wrong;  // "": whatever
};

class MovesExplorerSeededTest : public ::testing::TestWithParam<Seed> {};

TEST_P(MovesExplorerSeededTest, IsFound) {
    const Explorer::Report report = explore(GetParam().troubles, GetParam().mistake);
    EXPECT_FALSE(report.wrong.empty());
    if (*GetParam().wrong != 0) {
        EXPECT_EQ(report.wrong, GetParam().wrong) << story(report);
    }
}

constexpr const char* kUsedTwice = "the session was used, and can be used again";

INSTANTIATE_TEST_SUITE_P(
    Mistakes, MovesExplorerSeededTest,
    ::testing::Values(
        Seed{Mistake::put_back_when_in_doubt, {.breaks = 1, .moves = 1}, ""},
        Seed{Mistake::every_transfer_is_new, {.repeats = 1}, ""},
        Seed{Mistake::what_is_not_here_is_unused, {.pulls = 1, .repository = true, .moves = 0}, kUsedTwice},
        Seed{Mistake::gone_is_told_once,
             {.breaks = 1, .pulls = 1, .repository = true, .moves = 0},
             kUsedTwice},
        Seed{Mistake::what_left_is_forgotten, {.pulls = 1, .repository = true, .moves = 1}, ""},
        Seed{Mistake::the_dead_are_believed,
             {.pulls = 1, .cuts = 1, .repository = true, .moves = 0},
             kUsedTwice},
        Seed{Mistake::a_purge_has_no_fence,
             {.resumes = 0, .purges = 1, .moves = 1},
             "it was purged everywhere, and is still there"},
        Seed{Mistake::a_purge_spares_the_repository, {.purges = 1, .repository = true, .moves = 1}, ""},
        Seed{Mistake::a_restart_forgets_purges,
             {.restarts = 1, .resumes = 0, .purges = 1, .moves = 0},
             "it was purged everywhere, and is still there"}));

}  // namespace
}  // namespace keyrail::testing
