// SPDX-License-Identifier: Apache-2.0
// Purges, and which blades have answered them. A blade is told as soon as it is there, also one that was not
// configured at the time: it may come with what it had. What it says of such sessions before its answer is
// from before the purge. They outlive keyraild. Messages are the caller's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/protocol/purged.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

class Purges {
  public:
    static constexpr size_t kMax = 256;  // of single sessions or services; of more, one of all is made
    /// In a blade's place: the repositories. No blade has this id.
    static constexpr BladeId kRepositories{};
    /// Then nothing of it can be left (RFC 8446 section 4.6.1), and it is forgotten.
    static constexpr uint64_t kForMs = uint64_t{8} * 24 * 3600 * 1000;

    /// Without a file nothing is kept.
    explicit Purges(std::filesystem::path file = {}) : file_(std::move(file)) {}

    /// What a keyraild that ran before has left to do.
    Result<void> load();
    /// `message` with its number. On an error it holds, but not over a restart.
    Result<void> add(const chassis::Purge& message, uint64_t now_ms);
    void answered(BladeId blade, uint64_t number);
    void drop_old(uint64_t now_ms);
    /// Writes down what has been answered, if anything has. Until then it is only told once more.
    Result<void> save();

    /// What this blade has not answered, in order.
    [[nodiscard]] std::vector<chassis::Purge> of(BladeId blade) const;
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const;
    /// Numbers up to this one are given away.
    [[nodiscard]] uint64_t last_number() const;

  private:
    struct Purge {
        chassis::Purge message;
        Purged what;
        std::set<BladeId> answered;
        uint64_t made_ms = 0;
    };
    [[nodiscard]] std::string written() const;
    static std::optional<std::vector<Purge>> read(const std::string& text);

    std::filesystem::path file_;
    std::vector<Purge> purges_;  // oldest first
    std::set<BladeId> done_;     // have answered them all: most blades, most of the time
    bool changed_ = false;       // since it was written
};

}  // namespace keyrail
