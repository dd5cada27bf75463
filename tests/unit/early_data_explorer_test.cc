// SPDX-License-Identifier: Apache-2.0
// Early data of one session is accepted once, whatever happens to the session: every state that two blades'
// real stores can get into by resumptions, moves (that a transfer arrives once, moves_explorer_test shows),
// refusals, losses, purges and restores from a repository that never learned that something was gone.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::TempStore;

/// Mistakes that must be found.
enum class Mistake { kNone, kMoveForgets, kRestoreForgets, kNoMark };

/// nullopt: it is not there; else whether its early data is spent.
using Place = std::optional<bool>;

struct World {
    std::array<Place, 2> store;
    Place flight;                // between the blades
    std::array<int, 2> asked{};  // handshakes that resumed it there, and may get early data yet
    int accepted = 0, resumptions = 3, moves = 3, restores = 2;
    auto operator<=>(const World&) const = default;
};

class EarlyDataExplorer {
  public:
    explicit EarlyDataExplorer(Mistake mistake) : mistake_(mistake) {
        fill(record_, 13, 150);
        record_.single_use = false;
    }
    /// How often it was accepted at most.
    int run() {
        World start;
        start.store[0] = false;
        explore(start);
        return most_;
    }
    [[nodiscard]] size_t states() const { return seen_.size(); }

  private:
    void put(size_t blade, bool spent) {
        record_.early_data_spent = spent;
        (void)stores_[blade]->put(record_);
    }
    Place look(size_t blade) {
        const auto info = stores_[blade]->peek(record_.name);
        return info ? Place(info->early_data_spent) : std::nullopt;
    }

    template <typename Step>
    void step(const World& world, const Step& take) {
        World next = world;
        for (size_t i = 0; i < 2; i++) {
            if (world.store[i])
                put(i, *world.store[i]);
            else
                stores_[i]->erase(record_.name);
        }
        take(next);
        for (size_t i = 0; i < 2; i++) next.store[i] = look(i);
        explore(next);
    }

    void explore(const World& world) {
        if (!seen_.insert(world).second) return;
        most_ = std::max(most_, world.accepted);
        for (size_t i = 0; i < 2; i++) at_blade(world, i);
        if (!world.flight) return;
        step(world, [](World& next) { next.flight.reset(); });  // lost
    }

    void at_blade(const World& world, size_t i) {
        SessionRecord out;
        if (world.resumptions > 0)
            step(world, [&](World& next) {
                next.resumptions--;
                const bool hit = stores_[i]->resume(record_.name, TlsVersion::tls13, 5000, out);
                next.asked[i] += hit && !out.early_data_spent ? 1 : 0;  // as decide_early_data()
            });
        if (world.asked[i] > 0)
            step(world, [&](World& next) {
                next.asked[i]--;
                const bool spent = mistake_ == Mistake::kNoMark || stores_[i]->spend_early_data(record_.name);
                next.accepted += spent ? 1 : 0;
            });
        if (world.moves > 0 && !world.flight)
            step(world, [&](World& next) {
                next.moves--;
                if (stores_[i]->take(record_.name, out))
                    next.flight = out.early_data_spent && mistake_ != Mistake::kMoveForgets;
            });
        if (world.flight)  // arrives, or is put back
            step(world, [&](World& next) {
                put(i, *next.flight);
                next.flight.reset();
            });
        step(world, [&](World&) { stores_[i]->erase(record_.name); });
        const bool nowhere = !world.store[0] && !world.store[1] && !world.flight;
        if (world.restores > 0 && nowhere)
            step(world, [&](World& next) {
                next.restores--;
                put(i, mistake_ != Mistake::kRestoreForgets);
            });
    }

    Mistake mistake_;
    std::array<TempStore, 2> stores_{TempStore(1 << 20), TempStore(1 << 20)};
    SessionRecord record_;
    std::set<World> seen_;
    int most_ = 0;
};

TEST(EarlyData, IsAcceptedOnceInEveryState) {
    EarlyDataExplorer explorer(Mistake::kNone);
    EXPECT_EQ(explorer.run(), 1);
    EXPECT_GT(explorer.states(), 1000U);
    RecordProperty("states", static_cast<int>(explorer.states()));
}

TEST(EarlyData, TheExplorerFindsMistakes) {
    for (const Mistake mistake : {Mistake::kMoveForgets, Mistake::kRestoreForgets, Mistake::kNoMark})
        EXPECT_GT(EarlyDataExplorer(mistake).run(), 1) << static_cast<int>(mistake);
}

}  // namespace
}  // namespace keyrail
