// SPDX-License-Identifier: Apache-2.0
// Which of a session's copies keyraild has destroyed: never the one that is where the session is.
#include <gmock/gmock.h>

#include "tests/support/keyraild_bench.h"

namespace keyrail::testing {
namespace {

using chassis::Envelope;

class Copies : public KeyraildBench {
  protected:
    void has(BladeId blade, const std::string& name) {
        Envelope message;
        chassis::SessionState& state = *message.mutable_checkpoint()->add_sessions();
        state.set_name(name);
        state.set_digest(std::string(32, 'd'));
        state.set_expires_ms(in_an_hour_ms());
        agents[blade]->send(message);
    }
    bool destroyed_at(BladeId blade, int milliseconds = 5000) {
        return until([&] { return !agents[blade]->of(Envelope::kStale).empty(); }, milliseconds);
    }
    /// As the dataplane wishes, and both agents do.
    void move(const std::string& name, BladeId from, BladeId to) {
        const size_t orders = agents[from]->of(Envelope::kOrder).size();
        request_move(++moves_, name, from, to);
        const auto given = [&] { return agents[from]->of(Envelope::kOrder); };
        require([&] { return given().size() > orders; }, "an order");
        agents[to]->done(given().back().order().order_id(), chassis::MOVED, in_an_hour_ms());
        require([&] { return outcomes().size() == moves_; }, "an outcome");
    }

  private:
    uint64_t moves_ = 0;
};

TEST_F(Copies, WhatIsNotWhereTheSessionIsIsDestroyed) {
    start_whole();
    move(name_of(1), 1, 2);
    has(1, name_of(1));
    EXPECT_TRUE(destroyed_at(1));
    EXPECT_FALSE(destroyed_at(2, 200));
}

/// A blade's word of a session comes late: it has left meanwhile, and is back when keyraild comes to speak of
/// it.
TEST_F(Copies, WhatHasComeBackIsNot) {
    start_whole();
    for (uint8_t i = 0; i < 10; i++) {
        move(name_of(1, i), 1, 2);
        has(1, name_of(1, i));
        move(name_of(1, i), 2, 1);
    }
    EXPECT_FALSE(destroyed_at(1, 300));
}

}  // namespace
}  // namespace keyrail::testing
