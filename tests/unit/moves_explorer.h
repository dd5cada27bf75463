// SPDX-License-Identifier: Apache-2.0
// Every way in which moves of one session between two blades can go: the real Moves, Mover, Receiver and
// Store, with the connections between them as queues that can lose, repeat and break, and processes that can
// die. World is a state that can be copied; Explorer makes every step from every state once (breadth does not
// matter: it is exhaustive) and checks each.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/agent/mover.h"
#include "control/agent/receiver.h"
#include "control/daemon/moves/moves.h"
#include "tests/support/temp_store.h"

namespace keyrail::testing {

/// How much may go wrong on one path.
struct Troubles {
    int losses = 0;   // a message is lost, its connection stays
    int repeats = 0;  // a message arrives a second time, later
    int breaks = 0;   // a connection breaks, with all that is in it
    int crashes = 0;  // an agent or keyraild dies and starts again; the store stays
    int resumes = 1;  // the client comes back to one of the blades
};

/// Mistakes that the explorer must find.
enum class Mistake : uint8_t {
    none,
    put_back_when_in_doubt,  // the holder puts the session back when the connection breaks
    every_transfer_is_new,   // the target does not know a repeated transfer again
};

using Queue = std::deque<chassis::Envelope>;

/// One connection: what is under way in it, to each end.
struct Wire {
    bool open = true;
    Queue there, back;
};

class Environment;

struct World {
    World(Environment& environment, const Troubles& troubles);
    std::array<bool, 2> holds{};  // the store of blade 1, of blade 2
    std::array<std::optional<Mover>, 2> movers;
    std::array<std::optional<Receiver>, 2> receivers;
    std::optional<Moves> moves;
    /// 0, 1: keyraild to agent 1, 2. 2: agent 1 to agent 2, 3: agent 2 to agent 1.
    std::array<Wire, 4> wires;
    Troubles left;
    uint64_t transfers = 0, era = 1;
    size_t asked = 0;
    bool troubled = false, forgetful = false;  // something went wrong; keyraild died
    int used = 0;                              // times that the client resumed it
    std::map<uint64_t, int> answers;           // move id -> how often
};

class Explorer {
  public:
    struct Wish {
        uint16_t from, to;
    };
    struct Report {
        size_t states = 0, steps = 0;
        std::vector<std::string> path;  // to what is wrong
        std::string wrong;              // empty: nothing is
    };

    Explorer(std::vector<Wish> wishes, const Troubles& troubles, Mistake mistake = Mistake::none);
    ~Explorer();
    Explorer(const Explorer&) = delete;
    Explorer& operator=(const Explorer&) = delete;
    Report run();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail::testing
