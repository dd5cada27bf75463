// SPDX-License-Identifier: Apache-2.0
// What Moves asks of the rest of keyraild, for unit tests: every blade is there, and what is sent is kept.
#pragma once

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chassis.pb.h"
#include "control/daemon/moves/moves.h"
#include "dataplane/common/name_bytes.h"
#include "link.pb.h"

namespace keyrail {

/// The first byte of a name says whose it is.
class Links : public MoveHost {
  public:
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const override {
        return BladeId::or_none(name[0]);
    }
    [[nodiscard]] bool connected(BladeId) const override { return true; }
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const override {
        return blade == purged_blade && purged.means(name, service);
    }
    Result<void> send(BladeId blade, chassis::Envelope message) override {
        if (message.has_order()) orders.emplace_back(blade, message.order());
        if (message.has_expect()) announced.emplace_back(blade, message.expect());
        if (message.has_pull_reply()) pulled.push_back(message.pull_reply().result());
        return {};
    }
    void send(link::ToDataplane message) override {
        for (const link::MovedEntry& entry : message.moved_entries().entries())
            told[*name_from(entry.name())] = entry.holder();
        if (message.move_outcome().has_now())
            told[*name_from(message.move_outcome().now().name())] = message.move_outcome().now().holder();
    }
    void drained(BladeId, MoveResult result) override { drains.push_back(result); }
    [[nodiscard]] const LatestState* latest(const SessionName&) const override { return known; }
    [[nodiscard]] bool dead(BladeId) const override { return false; }
    [[nodiscard]] bool keeps(const std::string&) const override { return false; }
    bool restore(const MoveOrder& order, const NotUsed& evidence) override {
        if (repository) restores.emplace_back(order.name, evidence);
        return repository;
    }
    void restored(const MoveOrder&) override {}
    std::string receipt(const SessionName&, BladeId blade, uint64_t order) override {
        return fmt::format("{} {}", blade, order);
    }
    std::optional<uint64_t> order_in(const std::string& receipt, const SessionName&, BladeId blade) override {
        const std::string begin = fmt::format("{} ", blade);
        return receipt.starts_with(begin) ? std::optional(std::stoull(receipt.substr(begin.size())))
                                          : std::nullopt;
    }

    BladeId purged_blade = 0;  // has not answered this one
    Purged purged;
    bool repository = false;
    std::vector<std::pair<SessionName, NotUsed>> restores;
    std::vector<std::pair<BladeId, chassis::Expect>> announced;
    std::vector<std::pair<BladeId, chassis::Order>> orders;
    std::vector<MoveResult> drains;
    std::vector<chassis::MoveResult> pulled;
    const LatestState* known = nullptr;
    std::map<SessionName, uint32_t> told;  // the dataplane: where sessions are
};

}  // namespace keyrail
