// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/forecaster.h"

#include <algorithm>

#include "dataplane/core/snapshot.h"

namespace keyrail {

void Forecaster::Recent::add(std::span<const WorkerStats* const> workers, ServiceId service, size_t version) {
    total = 0;
    for (size_t i = 0; i < buckets.size(); i++) {
        uint64_t now = 0;
        for (const WorkerStats* stats : workers)
            if (const ServiceHoldWaits* waits = stats->hold_waits.find(service); waits != nullptr)
                now += (*waits)[version].waited.in(i);
        buckets[i] = buckets[i] * kKeptPerSecond + static_cast<double>(now - seen[i]);
        seen[i] = now;
        total += buckets[i];
    }
}

uint32_t Forecaster::Recent::expected_us() const {
    if (total < kEnough) return 0;
    const uint64_t us = DurationBuckets::quantile(kShare, total, [this](size_t i) { return buckets[i]; });
    return static_cast<uint32_t>(std::clamp<uint64_t>(us, 1, UINT32_MAX));
}

void Forecaster::tick(const Snapshot& snapshot, std::span<const WorkerStats* const> workers,
                      HoldForecast& forecast) {
    const auto counted = [&](ServiceId service) {
        return std::ranges::any_of(
            workers, [&](const WorkerStats* stats) { return stats->hold_waits.find(service) != nullptr; });
    };
    for (const Service& service : snapshot.services)
        if (counted(service.id)) recent_.try_emplace(service.id);
    for (auto& [service, versions] : recent_)
        for (size_t version = 0; version < versions.size(); version++) {
            versions[version].add(workers, service, version);
            if (snapshot.service(service) != nullptr)
                forecast.set(service, version, versions[version].expected_us());
        }
}

}  // namespace keyrail
