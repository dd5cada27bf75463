// SPDX-License-Identifier: Apache-2.0
// Keeps the pool keys of the repository, each wrapped for each member (control/repository/pool_key.h), and
// sees to it that every member has its own: what is missing is asked of a member that has the key. keyraild
// cannot open any of them. Pure but for its file: messages are handed out.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "chassis.pb.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// A service with a repository.
struct SealedService {
    std::string name;
    uint64_t lifetime_ms = 0;     // of its sessions: so long an old key is kept
    std::vector<BladeId> blades;  // that may hold them
};

/// A blade whose agent is connected.
struct KeyMember {
    std::string certificate;  // DER
    std::string recipient;    // recipient_of(certificate)
};

class PoolKeyKeeper {
  public:
    static constexpr uint64_t kLifetimeMs = 24 * 3600 * 1000ULL;  // then a new key is made
    static constexpr uint64_t kPatienceMs = 2000;                 // then somebody else is asked
    static constexpr size_t kMaxKeys = 65'536;

    using Members = std::map<BladeId, KeyMember>;
    using Send = std::function<void(BladeId blade, chassis::Envelope message)>;

    /// Wrapped keys are kept in `file`.
    explicit PoolKeyKeeper(std::filesystem::path file) : file_(std::move(file)) {}
    Result<void> load();

    /// Asks for what is missing, drops what nobody needs any more. Call it often.
    void poll(std::span<const SealedService> services, const Members& members, uint64_t now_ms,
              const Send& send);
    /// A member's answer. False: it was not asked for.
    bool add(BladeId blade, const chassis::PoolKeys& answer, uint64_t now_ms);
    /// All keys of one recipient; `members` that lack nothing get exactly these.
    [[nodiscard]] chassis::PoolKeys keys_of(const std::string& recipient) const;
    /// A new key for every service at the next poll(): `recipient` was revoked and never gets another one.
    void revoke(const std::string& recipient);
    /// Changes with what keys_of() says.
    [[nodiscard]] uint64_t version() const { return version_; }

  private:
    struct Generation {
        uint64_t made_ms = 0;
        bool retired = false;
        std::map<std::string, chassis::PoolKey> wrapped;  // by recipient
    };
    struct Question {
        BladeId blade = 0;
        uint64_t asked_ms = 0;
        bool make = false;
    };
    using Id = std::pair<std::string, uint32_t>;  // service, generation

    void poll(const SealedService& service, const Members& members, uint64_t now_ms, const Send& send);
    void ask(const Id& id, bool make, const std::vector<BladeId>& able,
             const std::vector<std::string>& lacking, uint64_t now_ms, const Send& send);
    void drop_old(const SealedService& service, uint64_t now_ms);
    void save();

    std::filesystem::path file_;
    std::map<Id, Generation> keys_;
    std::map<Id, Question> questions_;
    uint64_t version_ = 0, turns_ = 0;
};

}  // namespace keyrail
