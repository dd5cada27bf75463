// SPDX-License-Identifier: Apache-2.0
// What the control thread and the workers of keyrail-dp share, and who writes what. Nothing else is shared.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>

#include "dataplane/common/ids.h"
#include "dataplane/common/session_name.h"
#include "dataplane/core/hold_forecast.h"
#include "dataplane/profile/profile.h"
#include "dataplane/tables/next_hop.h"
#include "dataplane/tables/routes.h"
#include "dataplane/wire/headers.h"

struct rte_rcu_qsbr;
struct rte_ring;

namespace keyrail {

/// rte_ring_create_elem, whose header has no extern "C" in DPDK 24.11: C++ would look for another name.
extern "C" rte_ring* create_ring(const char* name, unsigned element_size, unsigned count, int socket,
                                 unsigned flags) __asm__("rte_ring_create_elem");

struct Snapshot;
class MovedTable;

/// worker -> control thread: please have this session moved. Sent as an element of Shared::asks.
struct MoveAsk {
    MoveId move_id;
    SessionName name;
    BladeId from, to;
    ServiceId service;  // the control thread may have another snapshot when it looks
    TlsVersion tls_version;
    uint32_t budget_us;
    uint64_t asked_ns;  // stamp_ns()
};
static_assert(sizeof(MoveAsk) % 4 == 0);

/// control thread -> worker: how it ended. The moved table already says where the session is.
struct MoveAnswer {
    MoveId move_id;
    BladeId holder;  // 0: nobody
    uint8_t moved;   // 1: it is at `holder` now
    uint8_t unused[5] = {};
    uint64_t heard_ns = 0;  // stamp_ns(), by the control thread
};
static_assert(sizeof(MoveAnswer) % 4 == 0);

/// worker -> control thread: which blade has this connection? An element of Shared::flow_asks.
struct FlowAsk {
    FlowAskId ask_id;
    ServiceId service;
    Tuple tuple;
    uint8_t ipv6;
    uint8_t unused[3] = {};
};
static_assert(sizeof(FlowAsk) % 4 == 0);

/// control thread -> worker.
struct FlowAnswer {
    FlowAskId ask_id;
    BladeId blade;      // 0: nobody
    uint8_t time_wait;  // 1: it is over, the blade has it in TIME_WAIT
    uint8_t unused[5];
};
static_assert(sizeof(FlowAnswer) % 4 == 0);

/// worker -> the worker that owns the flow: its blade said FIN or RST.
struct FlowEnd {
    uint64_t hash;  // of the flow
    uint64_t mac;   // whose word it is (wire/macs.h)
    ServiceId service;
    uint8_t flags;  // TcpFlag
    uint8_t unused[7] = {};
};
static_assert(sizeof(FlowEnd) % 4 == 0);

inline constexpr uint32_t kUsualMtu = 1500;  // of Ethernet
inline constexpr uint32_t kLeastMtu = 576;   // a smaller one is nobody's intention

inline uint64_t random_key() {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
}

struct Shared {
    Shared() {
        for (auto& mtu : port_mtu) mtu = kUsualMtu;
        std::ranges::fill(wake_worker, -1);
    }

    uint64_t flow_hash_key =
        random_key();      // the same for all workers: a flow has one owner. Set before the first
    uint16_t workers = 1;  // set before the first is made
    struct Limits {
        uint64_t flows = 0, holds = 0, moved = 0;  // of all workers
    } limits;                                      // set before the first is made, for reports

    // control thread: rw, workers: ro; the old one is freed after rcu says that no worker reads it
    std::atomic<const Snapshot*> snapshot{nullptr};
    rte_rcu_qsbr* rcu = nullptr;  // workers report a quiescent state once per loop

    // control thread: rw, workers: ro
    AtomicNextHop blade_hop[BladeId::kMax + 1];
    // NextHop::tags points here; an entry is written before the first hop names it, and never again
    std::array<TagStack, kMaxTagStacks> tag_stacks;
    Routes* routes = nullptr;
    // longest IP packets: of each port's link, and to the blades (the least of their links and routes)
    std::array<std::atomic<uint32_t>, kMaxPorts> port_mtu;
    std::atomic<uint32_t> backplane_mtu{kUsualMtu};
    MovedTable* moved = nullptr;
    HoldForecast forecast;

    // per worker, single producer and single consumer, elements as above (create_ring)
    rte_ring* asks[kMaxWorkers] = {};          // worker -> control thread
    rte_ring* answers[kMaxWorkers] = {};       // control thread -> worker
    rte_ring* flow_asks[kMaxWorkers] = {};     // worker -> control thread; null: nobody to ask
    rte_ring* flow_answers[kMaxWorkers] = {};  // control thread -> worker
    rte_ring* handoff[kMaxWorkers] = {};    // any worker -> this one: mbufs of its flows (ports without RSS)
    rte_ring* flow_ends[kMaxWorkers] = {};  // any worker -> this one: FlowEnd; null: there is one worker
    int wake_control = -1;                  // eventfd: a worker put something into its asks
    int wake_worker[kMaxWorkers];  // eventfd of a worker that naps: it has answers. -1: it never naps

    std::atomic<bool> control_connected{false};  // control thread: rw. False: no moves, no holds for moves
    std::atomic<bool> stop{false};
};

}  // namespace keyrail
