// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/economics.h"

#include <algorithm>

#include "chassis.pb.h"

namespace keyrail {

namespace {

size_t index_of(TlsVersion tls_version) { return tls_version == TlsVersion::tls13; }

template <typename Message>
CostTotals totals_of(const Message& cost) {
    return {cost.count(), cost.cpu_ns(), cost.wall_ns()};
}

/// A smaller difference than a quarter is not told: each is a snapshot for the dataplane.
bool differs_enough(Economics::Budget before, Economics::Budget now) {
    if ((before.count() == 0) != (now.count() == 0)) return true;
    return std::chrono::abs(now - before) * 4 > before;
}

}  // namespace

void MeanCost::add(const CostTotals& more) {
    count_ += static_cast<double>(more.count);
    cpu_ns_ += static_cast<double>(more.cpu_ns);
    wall_ns_ += static_cast<double>(more.wall_ns);
    if (count_ <= kWindow) return;
    const double shrink = kWindow / count_ / 2;
    for (double* sum : {&count_, &cpu_ns_, &wall_ns_}) *sum *= shrink;
}

void Economics::configure(const Config& config) {
    decltype(handshakes_) kept;
    services_of_.clear();
    for (const ServiceConfig& service : config.services) {
        kept[service.name] = handshakes_[service.name];
        for (const BladeId blade : service.members()) services_of_[blade].push_back(service.name);
    }
    handshakes_ = std::move(kept);
    std::erase_if(seen_, [&](const auto& entry) {
        const auto& [blade, service, version, resumed] = entry.first;
        return !config.blades.contains(blade) || (!service.empty() && !handshakes_.contains(service));
    });
}

/// What is new since the last report. A blade whose sums went down has begun anew.
CostTotals Economics::fresh(const Source& source, const CostTotals& totals) {
    CostTotals& before = seen_[source];
    const bool anew =
        totals.count < before.count || totals.cpu_ns < before.cpu_ns || totals.wall_ns < before.wall_ns;
    if (anew) before = {};
    const CostTotals more{totals.count - before.count, totals.cpu_ns - before.cpu_ns,
                          totals.wall_ns - before.wall_ns};
    before = totals;
    return more;
}

/// For servers that hide from their hooks which service a connection is of.
std::string Economics::only_service_of(BladeId blade) const {
    const auto found = services_of_.find(blade);
    return found != services_of_.end() && found->second.size() == 1 ? found->second[0] : "";
}

bool Economics::serves(BladeId blade, const std::string& service) const {
    const auto found = services_of_.find(blade);
    return found != services_of_.end() && std::ranges::find(found->second, service) != found->second.end();
}

void Economics::add_handshakes(BladeId blade, const chassis::Health& health) {
    for (const chassis::HandshakeCost& cost : health.costs()) {
        const std::string service = cost.service().empty() ? only_service_of(blade) : cost.service();
        const auto known = handshakes_.find(service);
        if (known == handshakes_.end() || !serves(blade, service)) continue;
        const size_t version = index_of(static_cast<TlsVersion>(cost.tls_version()));
        Handshakes& all = known->second[version];
        const CostTotals more = fresh({blade, service, version, cost.resumed()}, totals_of(cost));
        (cost.resumed() ? all.resumed : all.full).add(more);
        (cost.resumed() ? all.resumed_count : all.full_count) += more.count;
        const double saving = all.full.cpu_ns() - all.resumed.cpu_ns();
        if (cost.resumed() && all.full.known() && saving > 0)
            all.saved_s += static_cast<double>(more.count) * saving / 1e9;
    }
}

Economics::Budget Economics::Handshakes::saving() const {
    if (!known()) return {};
    const double saved_us = (full.wall_ns() - resumed.wall_ns()) / 1000;
    return std::min(Budget(static_cast<int64_t>(std::max(saved_us, 0.0))), kMaxBudget);
}

/// A move is worth it when it costs the chassis less CPU than it saves. Whether a client should wait for it
/// is decided for each one, where its round trip and the holds of the moment are known (steer/decide.h). Once
/// worth it, a move stays so until it is clearly not.
Economics::Budget Economics::judge(const Handshakes& costs) const {
    constexpr double kDoubt = 0.8;
    if (!costs.known()) return kDefaultBudget;
    const double cpu_saved = costs.full.cpu_ns() - costs.resumed.cpu_ns();
    const double margin = costs.budget.count() != 0 ? kDoubt : 1;
    if (move_.known() && cpu_saved < move_.cpu_ns() * margin) return Budget{0};
    return costs.saving();
}

bool Economics::health(BladeId blade, const chassis::Health& health, Time now) {
    add_handshakes(blade, health);
    const CostTotals moved = fresh({blade, "", 0, false}, totals_of(health.moves()));
    if (moved.count != 0)
        moved_at_ = now;
    else if (now - moved_at_ > kForget)
        move_ = {};
    move_.add(moved);
    moves_measured_ += moved.count;
    bool changed = false;
    for (auto& [service, versions] : handshakes_)
        for (Handshakes& costs : versions) {
            const Budget budget = judge(costs);
            if (!differs_enough(costs.budget, budget)) continue;
            costs.budget = budget;
            changed = true;
        }
    return changed;
}

Economics::Budget Economics::hold_budget(const ServiceConfig& service, TlsVersion tls_version) const {
    if (service.hold_budget) return *service.hold_budget;
    const auto known = handshakes_.find(service.name);
    if (known == handshakes_.end()) return kDefaultBudget;
    const Handshakes& costs = known->second[index_of(tls_version)];
    // Early data saves the client a round trip, of which the blades know nothing: worth some CPU.
    const bool early_data = service.early_data && tls_version == TlsVersion::tls13 && costs.known();
    return early_data ? std::max(costs.budget, costs.saving()) : costs.budget;
}

Economics::Budget Economics::saving(const ServiceConfig& service, TlsVersion tls_version) const {
    const auto known = handshakes_.find(service.name);
    return known == handshakes_.end() ? Budget{} : known->second[index_of(tls_version)].saving();
}

}  // namespace keyrail
