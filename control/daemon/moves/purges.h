// SPDX-License-Identifier: Apache-2.0
// Purges that some blade has not answered yet: it is told as soon as it is there, and what it says of such
// sessions before its answer is from before the purge. Pure; messages are the caller's.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "chassis.pb.h"
#include "control/protocol/purged.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Purges {
  public:
    static constexpr size_t kMax = 256;  // of single sessions or services; of more, one of all is made

    /// `message` with its number; `blades` have to answer.
    void add(const chassis::Purge& message, std::set<BladeId> blades);
    void answered(BladeId blade, uint64_t number);
    /// What this blade has not answered, in order.
    [[nodiscard]] std::vector<chassis::Purge> of(BladeId blade) const;
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const;
    /// Blades that are no more need not answer.
    template <typename Known>
    void keep_blades(const Known& known) {
        for (Purge& purge : purges_)
            std::erase_if(purge.blades, [&](BladeId blade) { return !known(blade); });
        drop_answered();
    }
    [[nodiscard]] bool empty() const { return purges_.empty(); }

  private:
    struct Purge {
        chassis::Purge message;
        Purged what;
        std::set<BladeId> blades;
    };
    void drop_answered();
    std::vector<Purge> purges_;  // oldest first
};

}  // namespace keyrail
