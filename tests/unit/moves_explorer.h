// SPDX-License-Identifier: Apache-2.0
// Every way in which moves of one session between two blades can go: the real state machines of keyraild
// (Moves, Checkpoints, Purges) and of two agents (Mover, Receiver, Checkpointer, Restorer, Fences) with real
// stores, journals and sealing. The connections between them are queues that can lose, repeat and break;
// processes can die, blades can be cut off; the repository does what it is asked later. World is a state that
// can be copied; Explorer makes every step from every state once (breadth does not matter: it is exhaustive)
// and checks each.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/agent/checkpointer.h"
#include "control/agent/mover.h"
#include "control/agent/receiver.h"
#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/moves.h"
#include "control/daemon/moves/purges.h"
#include "tests/support/temp_store.h"

namespace keyrail::testing {

/// How much may go wrong, and what may happen, on one path.
struct Troubles {
    int losses = 0;          // a message is lost, its connection stays
    int repeats = 0;         // a message arrives a second time, later
    int breaks = 0;          // a connection breaks, with all that is in it
    int crashes = 0;         // an agent dies and starts again; the store stays
    int restarts = 0;        // keyraild does
    int resumes = 1;         // the client comes back to one of the blades
    int pulls = 0;           // a server misses the session
    int purges = 0;          // the operator purges all
    int cuts = 0;            // nobody reaches a blade for a while but its clients: for keyraild it is dead
    bool in_pieces = false;  // an agent's announcement of what it has is several messages
    bool repository = false;
    bool reusable = false;  // not a session of single use
    size_t moves = 2;       // that the dataplane asks for: there, and back
};

/// Mistakes that the explorer must find.
enum class Mistake : uint8_t {
    none,
    put_back_when_in_doubt,  // the holder puts the session back when the connection breaks
    every_transfer_is_new,   // the target does not know a repeated transfer again, nor that it was announced
                             // once
    what_is_not_here_is_unused,  // NOT_FOUND says so without a look into the journal
    gone_is_told_once,           // and lost when the connection breaks
    what_left_is_forgotten,      // the holder does not remember that it gave the session away
    the_dead_are_believed,  // a single-use session is restored though its blade cannot say whether it was
                            // used
    a_purge_has_no_fence,   // what is under way during a purge is let in
    a_purge_spares_the_repository,
    a_restart_forgets_purges,  // keyraild's next one tells nobody
};

using Queue = std::deque<chassis::Envelope>;

/// One connection: what is under way in it, to each end.
struct Wire {
    bool open = true;
    Queue there, back;
};

/// What the repository is asked and has not done yet.
struct RepositoryTask {
    enum class Kind : uint8_t { keep, forget, retrieve, clear };
    Kind kind = Kind::keep;
    std::string sealed;
    uint64_t ticket = 0;
    Retrieval retrieval;
};

class Environment;

struct World {
    World(Environment& environment, const Troubles& troubles);
    std::array<std::optional<MoveReceipt>, 2> holds{};          // the store of blade 1, of blade 2
    std::array<std::vector<Store::Change>, 2> unread, history;  // of its journal
    std::array<std::optional<Mover>, 2> movers;
    std::array<std::optional<Receiver>, 2> receivers;
    std::array<std::optional<Checkpointer>, 2> checkpointers;
    std::array<std::optional<Fences>, 2> fences;
    std::array<std::vector<uint64_t>, 2> purged;  // numbers of the purges that an agent knows
    std::array<bool, 2> announcing{}, cut{};
    std::optional<Moves> moves;
    std::optional<Checkpoints> checkpoints;
    std::optional<Purges> purges;
    std::optional<std::string> kept;  // in the repository
    std::deque<RepositoryTask> tasks;
    /// 0, 1: keyraild to agent 1, 2. 2: agent 1 to agent 2, 3: agent 2 to agent 1.
    std::array<Wire, 4> wires;
    Troubles left;
    uint64_t transfers = 0, era = 1, epochs = 0;
    size_t asked = 0, pulled = 0;
    bool troubled = false, forgetful = false;  // something went wrong; keyraild died
    bool purge_asked = false;
    int used = 0;                     // times that the client resumed it
    std::map<uint64_t, int> answers;  // move id -> how often
};

class Explorer {
  public:
    struct Report {
        size_t states = 0, steps = 0;
        std::vector<std::string> path;  // to what is wrong
        std::string wrong;              // empty: nothing is
    };

    explicit Explorer(const Troubles& troubles, Mistake mistake = Mistake::none);
    ~Explorer();
    Explorer(const Explorer&) = delete;
    Explorer& operator=(const Explorer&) = delete;
    Report run();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail::testing
