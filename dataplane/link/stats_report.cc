// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/stats_report.h"

#include <rte_ethdev.h>
#include <rte_mempool.h>

#include "dataplane/common/counters.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/link/hold_report.h"
#include "dataplane/tables/moved_table.h"

namespace keyrail {
namespace {

void add_counter(google::protobuf::RepeatedPtrField<link::Counter>& to, std::string_view name,
                 uint64_t value) {
    link::Counter& entry = *to.Add();
    entry.set_name(std::string(name));
    entry.set_value(value);
}

void report_worker(uint32_t index, const WorkerStats& stats, link::WorkerStats& into) {
    into.set_worker(index);
    into.set_busy_us(stats.busy_us.get());
    auto& counters = *into.mutable_counters();
    for (const WorkerCounter& counter : kWorkerCounters)
        add_counter(counters, counter.text.name, (stats.*counter.value).get());
    for (size_t i = 0; i < kReasons; ++i) add_counter(counters, kReasonTexts[i].name, stats.reasons[i].get());
}

void report_port(const Port& port, link::PortStats& into) {
    into.set_name(port.name);
    rte_eth_stats stats{};
    rte_eth_stats_get(port.device, &stats);
    const PortCounters counted{.rx_packets = stats.ipackets,
                               .tx_packets = stats.opackets,
                               .rx_bytes = stats.ibytes,
                               .tx_bytes = stats.obytes,
                               .rx_missed = stats.imissed,
                               .rx_errors = stats.ierrors,
                               .tx_errors = stats.oerrors};
    for (const PortCounter& counter : kPortCounters)
        add_counter(*into.mutable_counters(), counter.text.name, counted.*counter.value);
    rte_eth_link link{};
    into.set_link_up(rte_eth_link_get_nowait(port.device, &link) == 0 && link.link_status == RTE_ETH_LINK_UP);
}

void add_capacity(std::string_view name, uint64_t used, uint64_t limit, link::Stats& into) {
    auto& capacity = *into.add_capacities();
    capacity.set_name(std::string(name));
    capacity.set_used(used);
    capacity.set_limit(limit);
}

void report_blades(std::span<const WorkerStats* const> workers, const Snapshot& snapshot,
                   const Shared& shared, link::Stats& into) {
    for (uint16_t id = BladeId::kMin; id <= BladeId::kMax; ++id) {
        if (!snapshot.blades[id].known) continue;
        auto& blade = *into.add_blades();
        uint64_t flows = 0;
        for (const WorkerStats* stats : workers) flows += stats->blade_flows[id].get();
        blade.set_id(id);
        blade.set_flows_bound(flows);
        blade.set_neighbour_known(shared.blade_hop[id].load().known());
    }
}

}  // namespace

void report_stats(std::span<const WorkerStats* const> workers, const Ports& ports, const Shared& shared,
                  link::Stats& into) {
    uint64_t held = 0, flows = 0, holds = 0;
    for (uint32_t i = 0; i < workers.size(); ++i) {
        report_worker(i, *workers[i], *into.add_workers());
        held += workers[i]->held.get();
        flows += workers[i]->flows.get();
        holds += workers[i]->holds.get();
    }
    for (const Port& port : ports.list) report_port(port, *into.add_ports());
    if (const Snapshot* snapshot = shared.snapshot.load(); snapshot != nullptr) {
        into.set_snapshot_generation(snapshot->generation);
        report_blades(workers, *snapshot, shared, into);
        report_holds(workers, *snapshot, shared, into);
    }
    into.set_held(held);
    into.set_flows(flows);
    into.set_moved_entries(shared.moved->size());
    add_capacity("flows", flows, shared.limits.flows, into);
    add_capacity("holds", holds, shared.limits.holds, into);
    add_capacity("moved_entries", shared.moved->size(), shared.limits.moved, into);
    if (ports.pool != nullptr)
        add_capacity("mbufs", rte_mempool_in_use_count(ports.pool), ports.pool->size, into);
}

}  // namespace keyrail
