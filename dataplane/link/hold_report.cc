// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/hold_report.h"

#include <vector>

#include "dataplane/common/stamp.h"
#include "dataplane/core/snapshot.h"

namespace keyrail {
namespace {

/// The sum of several workers' histograms: its buckets that are not empty.
void report_sum(const std::vector<const SharedHistogram*>& parts, link::Durations& into) {
    uint64_t sum_us = 0;
    for (const SharedHistogram* part : parts) sum_us += part->sum_us();
    into.set_sum_us(sum_us);
    for (size_t i = 0; i < DurationBuckets::kCount; ++i) {
        uint64_t count = 0;
        for (const SharedHistogram* part : parts) count += part->in(i);
        if (count == 0) continue;
        into.add_bucket(static_cast<uint32_t>(i));
        into.add_count(count);
    }
}

void report_stage(const char* name, const std::vector<const SharedHistogram*>& parts, link::Stats& into) {
    link::MoveStage& stage = *into.add_stages();
    stage.set_name(name);
    report_sum(parts, *stage.mutable_took());
}

void report_version(const std::vector<const HoldWaits*>& all, link::HoldWaits& into) {
    std::vector<const SharedHistogram*> waited, saving;
    uint64_t longer = 0;
    for (const HoldWaits* waits : all) {
        waited.push_back(&waits->waited);
        saving.push_back(&waits->saving);
        longer += waits->longer.get();
    }
    report_sum(waited, *into.mutable_waited());
    report_sum(saving, *into.mutable_saving());
    into.set_longer(longer);
}

}  // namespace

void MoveStages::add(SharedHistogram& stage, uint64_t from_ns, uint64_t to_ns) {
    if (const int64_t us = stage_us(from_ns, to_ns); us >= 0) stage.add(static_cast<uint64_t>(us));
}

void report_holds(std::span<const WorkerStats* const> workers, const Snapshot& snapshot, const Shared& shared,
                  link::Stats& into) {
    for (const Service& service : snapshot.services)
        for (size_t version = 0; version < kTlsVersions.size(); ++version) {
            std::vector<const HoldWaits*> all;
            for (const WorkerStats* stats : workers)
                if (const auto* waits = stats->hold_waits.find(service.id); waits != nullptr)
                    all.push_back(&(*waits)[version]);
            link::HoldWaits& holds = *into.add_holds();
            holds.set_service(service.name);
            holds.set_tls_version(number_of(kTlsVersions[version]));
            holds.set_expected_us(shared.forecast.expected_us(service.id, kTlsVersions[version]));
            report_version(all, holds);
        }
}

void report_stages(std::span<const WorkerStats* const> workers, const MoveStages& stages, link::Stats& into) {
    std::vector<const SharedHistogram*> to_worker;
    for (const WorkerStats* stats : workers) to_worker.push_back(&stats->to_worker);
    report_stage("ask", {&stages.to_control}, into);
    report_stage("answer", {&stages.from_keyraild}, into);
    report_stage("release", to_worker, into);
}

}  // namespace keyrail
