// SPDX-License-Identifier: Apache-2.0
// What steering knows of a ClientHello, and what it decides. No packet and no hold in it: a capture has the
// same.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/common/session_name.h"
#include "dataplane/common/verdict.h"
#include "dataplane/wire/client_hello.h"

namespace keyrail {

struct HelloFacts {
    uint64_t hash = 0;     // of the connection: where Maglev would send it
    uint16_t service = 0;  // index into Snapshot::services
    uint16_t pool = 0;     // index into Snapshot::pools: blades that have the content asked for
    TlsVersion tls_version = TlsVersion::unknown;  // that its session is of
    bool early_data = false;                       // it has some, or will
    BladeId bound = 0;   // the blade that has the connection already; 0: the client may go to any
    BladeId opener = 0;  // the blade that can open the foreign ticket it shows; 0: none that we know of
    Reason unnamed = Reason::steer_new;  // reason if no name of it is ours
    uint8_t name_count = 0;
    std::array<SessionName, kMaxNames> names;
    std::array<BladeId, kMaxNames> homes;  // by NameDecrypter: the blade in each name, 0 where it is not ours
};

/// Who has the session, and by which of the hello's names.
struct Holder {
    BladeId blade = 0;  // 0: nobody that we know of
    uint8_t name = 0;
    bool moved = false;  // not its home
};

struct Decision {
    BladeId blade = 0;                  // 0: no blade of the pool takes it
    Reason reason = Reason::steer_new;  // why it goes there; of a move that cannot be asked for, too
    bool move = false;                  // the session shall go from its holder to `blade` first
};

/// What a client's wait for its session is weighed by, in microseconds.
struct Wait {
    uint32_t expected = 0;    // by the holds of lately; 0: not known
    uint32_t round_trip = 0;  // of this client; 0: not known
    uint32_t saving = 0;      // what a full handshake would take this client longer; 0: not known
    uint32_t budget = 0;      // the longest that it is let wait
};

}  // namespace keyrail
