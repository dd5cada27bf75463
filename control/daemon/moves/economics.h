// SPDX-License-Identifier: Apache-2.0
// Economics: is a move worth it, and how long may a client wait for it? Decided by what handshakes and moves
// cost, as the blades measure it (DESIGN.md section 6). Pure: reports and the time come in.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "control/daemon/config/config.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace chassis {
class Health;
}

/// As the blades sum it up.
struct CostTotals {
    uint64_t count = 0, cpu_ns = 0, wall_ns = 0;
};

/// The mean cost of the latest things of a kind: of about kWindow, older ones count ever less.
class MeanCost {
  public:
    static constexpr double kWindow = 4096;
    static constexpr double kEnough = 16;  // fewer say nothing

    void add(const CostTotals& more);
    [[nodiscard]] bool known() const { return count_ >= kEnough; }
    [[nodiscard]] double cpu_ns() const { return count_ > 0 ? cpu_ns_ / count_ : 0; }
    [[nodiscard]] double wall_ns() const { return count_ > 0 ? wall_ns_ / count_ : 0; }

  private:
    double count_ = 0, cpu_ns_ = 0, wall_ns_ = 0;
};

class Economics {
  public:
    using Time = std::chrono::steady_clock::time_point;
    using Budget = std::chrono::microseconds;  // 0: not worth a move

    /// As long as one of the costs is not known: it has to be tried to be measured.
    static constexpr Budget kDefaultBudget{20'000};
    static constexpr Budget kMaxBudget{1'000'000};
    /// When no move was measured for so long, moves are tried again: what they cost then may be true no more.
    static constexpr std::chrono::minutes kForget{10};

    /// Of one service and TLS version.
    struct Handshakes {
        MeanCost full, resumed;
        uint64_t full_count = 0, resumed_count = 0;
        double saved_s = 0;  // CPU that resumptions have saved
        Budget budget = kDefaultBudget;

        [[nodiscard]] bool known() const { return full.known() && resumed.known(); }
        /// What a full handshake takes longer than a resumed one, both as the servers see them: the client's
        /// own work is in it, its round trips are not. 0: not known.
        [[nodiscard]] Budget saving() const;
    };

    /// Services that are new are known from now on, those that are gone are forgotten.
    void configure(const Config& config);
    /// What a blade has measured so far. True: a budget has changed, the dataplane must be told.
    bool health(BladeId blade, const chassis::Health& health, Time now);

    /// Longest wait for the move of a session, the client's round trips apart: the service's own, or as its
    /// costs say.
    [[nodiscard]] Budget hold_budget(const ServiceConfig& service, TlsVersion tls_version) const;
    /// As measured, whatever the budget says; 0: not known.
    [[nodiscard]] Budget saving(const ServiceConfig& service, TlsVersion tls_version) const;

    /// By service; TLS 1.2 (and before), TLS 1.3.
    [[nodiscard]] const auto& handshakes() const { return handshakes_; }
    [[nodiscard]] const MeanCost& move() const { return move_; }
    [[nodiscard]] uint64_t moves_measured() const { return moves_measured_; }

    /// Whose totals: blade, service ("" = moves), index of the version, resumed.
    using Source = std::tuple<BladeId, std::string, size_t, bool>;
    /// As the blades reported them last; they begin anew when a blade's store does.
    [[nodiscard]] const std::map<Source, CostTotals>& reported() const { return seen_; }

  private:
    CostTotals fresh(const Source& source, const CostTotals& totals);
    void add_handshakes(BladeId blade, const chassis::Health& health);
    [[nodiscard]] Budget judge(const Handshakes& costs) const;
    [[nodiscard]] std::string only_service_of(BladeId blade) const;
    [[nodiscard]] bool serves(BladeId blade, const std::string& service) const;

    std::map<BladeId, std::vector<std::string>> services_of_;  // by blade
    std::map<std::string, std::array<Handshakes, 2>> handshakes_;
    std::map<Source, CostTotals> seen_;
    MeanCost move_;
    uint64_t moves_measured_ = 0;
    Time moved_at_{};
};

}  // namespace keyrail
