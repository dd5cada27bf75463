// SPDX-License-Identifier: Apache-2.0
// The repositories, as Checkpoints uses them. What is asked is answered later, to Checkpoints, by what was
// handed over with the question.
#pragma once

#include <cstdint>
#include <string>

#include "control/daemon/moves/moves.h"
#include "control/repository/repository.h"

namespace keyrail {

/// A session is looked for in a repository.
struct Retrieval {
    MoveOrder order;
    NotUsed known;
};

class SealedSessions {
  public:
    virtual ~SealedSessions() = default;
    /// Has this service ("": not known) a repository?
    [[nodiscard]] virtual bool keeps(const std::string& service) const = 0;
    virtual void keep(const std::string& service, RepositoryChange change) = 0;
    /// Of no service anything is kept of this session. Answered by Checkpoints::forgotten(ticket), when it is
    /// true.
    virtual void forget(const SessionName& name, uint64_t ticket) = 0;
    /// Answered by Checkpoints::retrieved(). False: there is no repository for it.
    virtual bool retrieve(const Retrieval& retrieval) = 0;
};

}  // namespace keyrail
