// SPDX-License-Identifier: Apache-2.0
// Repository: the store of last resort for sealed sessions, whose holder died (DESIGN.md section 7). What is
// in it is opaque here: only agents can open it. Calls block; one thread at a time makes them
// (repository_queue.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

/// The latest that is known of one session.
struct RepositoryChange {
    SessionName name{};
    uint64_t expires_ms = 0;  // unix time
    std::string sealed;       // empty: the session is no more
};

class Repository {
  public:
    Repository() = default;
    Repository(const Repository&) = delete;
    Repository& operator=(const Repository&) = delete;
    virtual ~Repository() = default;

    /// Makes every change, in order. After an error some of them may have been made; making all again is
    /// harmless.
    virtual Result<void> apply(std::span<const RepositoryChange> changes) = 0;
    /// Takes the session out: of any number of callers, in any process, exactly one gets it. nullopt: it is
    /// not there. After an error it may be gone.
    virtual Result<std::optional<std::string>> take(const SessionName& name, uint64_t now_ms) = 0;
    /// Destroys what has expired, where the repository does not do that by itself. An error when it is down.
    virtual Result<void> sweep(uint64_t now_ms) = 0;
    /// Destroys everything that this chassis has in it.
    virtual Result<void> clear() = 0;
    /// Destroys those of which `which` says so. Changes that are made meanwhile are not looked at.
    using Which = std::function<bool(std::string_view sealed)>;
    virtual Result<void> remove_if(const Which& which) = 0;
};

}  // namespace keyrail
