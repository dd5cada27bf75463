// SPDX-License-Identifier: Apache-2.0
// Purges that some blade, or the repositories, have not answered yet: a blade is told as soon as it is there,
// and what it says of such sessions before its answer is from before the purge. They outlive keyraild.
// Messages are the caller's.
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
    /// Among blades: the repositories. No blade has this id.
    static constexpr BladeId kRepositories{};
    /// Then nothing of it can be left (RFC 8446 section 4.6.1), whatever has not answered.
    static constexpr uint64_t kForMs = uint64_t{8} * 24 * 3600 * 1000;

    /// Without a file nothing is kept.
    explicit Purges(std::filesystem::path file = {}) : file_(std::move(file)) {}

    /// What a keyraild that ran before has left to do.
    Result<void> load();
    /// `message` with its number; `blades` have to answer, also such as are not configured now: they may come
    /// back with what they had. On an error it holds, but not over a restart.
    Result<void> add(const chassis::Purge& message, std::set<BladeId> blades, uint64_t now_ms);
    void answered(BladeId blade, uint64_t number);
    void drop_old(uint64_t now_ms);
    /// Writes down what has been answered, if anything has. Until then it is only told once more.
    Result<void> save();

    /// What this blade has not answered, in order.
    [[nodiscard]] std::vector<chassis::Purge> of(BladeId blade) const;
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const;
    [[nodiscard]] bool empty() const { return purges_.empty(); }
    /// Numbers up to this one are given away.
    [[nodiscard]] uint64_t last_number() const;

  private:
    struct Purge {
        chassis::Purge message;
        Purged what;
        std::set<BladeId> blades;
        uint64_t made_ms = 0;
    };
    [[nodiscard]] std::string written() const;
    static std::optional<std::vector<Purge>> read(const std::string& text);
    void drop_answered();

    std::filesystem::path file_;
    std::vector<Purge> purges_;  // oldest first
    bool changed_ = false;       // since it was written
};

}  // namespace keyrail
