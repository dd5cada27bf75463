// SPDX-License-Identifier: Apache-2.0
// rte_fib in DPDK 22.11 has no RCU of its own: a change may empty a group of 256 entries ("tbl8") that a
// worker is just reading, and the next change may reuse the group for other addresses. Emptied entries read
// as hop 0, which is our "unknown", so the first is harmless. The second would send a packet to a wrong
// neighbour; therefore every change waits until all workers have passed a quiescent state since the change
// before it. Freed hop ids are covered by the same rule.
#include "dataplane/routes.h"

#include <arpa/inet.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>
#include <rte_rcu_qsbr.h>
#include <rte_rib.h>
#include <rte_rib6.h>

#include <cstring>
#include <vector>

namespace keyrail {
namespace {

// Each group of 256 two-byte entries takes 512 bytes. An IPv6 host route may need one for each of its last 13
// bytes.
constexpr uint32_t kGroups4 = 8192;
constexpr uint32_t kGroups6 = 16384;

}  // namespace

struct Routes::Impl {
    rte_fib* v4 = nullptr;
    rte_fib6* v6 = nullptr;
    rte_rcu_qsbr* rcu = nullptr;
    uint64_t token = 0;
    bool changed = false;  // since the last grace period
    std::vector<AtomicNextHop> hops = std::vector<AtomicNextHop>(kMaxHops + 1);
    std::vector<bool> own = std::vector<bool>(kMaxHops + 1);  // made by set4/set6 with a NextHop
    std::vector<HopId> free_hops;

    void before_change() {
        if (changed && rcu != nullptr) rte_rcu_qsbr_check(rcu, token, true);
        changed = false;
    }
    void after_change() {
        if (rcu != nullptr) token = rte_rcu_qsbr_start(rcu);
        changed = true;
    }

    /// Hop of the exact route, kUnknownHop when there is none.
    HopId find4(uint32_t prefix, uint8_t length) const {
        uint64_t hop = kUnknownHop;
        if (rte_rib_node* node = rte_rib_lookup_exact(rte_fib_get_rib(v4), prefix, length))
            rte_rib_get_nh(node, &hop);
        return static_cast<HopId>(hop);
    }
    HopId find6(const uint8_t* prefix, uint8_t length) const {
        uint64_t hop = kUnknownHop;
        if (auto* node = rte_rib6_lookup_exact(rte_fib6_get_rib(v6), prefix, length))
            rte_rib6_get_nh(node, &hop);
        return static_cast<HopId>(hop);
    }
    /// What must happen when nothing leads from a route to `hop` any more.
    void release(HopId hop) {
        if (!own[hop]) return;
        own[hop] = false;
        hops[hop].store({});
        free_hops.push_back(hop);
    }
};

Routes::Routes() : impl_(std::make_unique<Impl>()) {}

Routes::~Routes() {
    rte_fib_free(impl_->v4);
    rte_fib6_free(impl_->v6);
}

Result<std::unique_ptr<Routes>> Routes::create(uint32_t max_routes, rte_rcu_qsbr* rcu) {
    std::unique_ptr<Routes> routes(new Routes);
    Impl& impl = *routes->impl_;
    impl.rcu = rcu;
    for (HopId hop = kMaxHops; hop > kUnknownHop; --hop) impl.free_hops.push_back(hop);

    rte_fib_conf conf4{};
    conf4.type = RTE_FIB_DIR24_8;
    conf4.default_nh = kUnknownHop;
    conf4.max_routes = static_cast<int>(max_routes);
    conf4.dir24_8.nh_sz = RTE_FIB_DIR24_8_2B;
    conf4.dir24_8.num_tbl8 = kGroups4;
    impl.v4 = rte_fib_create("routes4", SOCKET_ID_ANY, &conf4);

    rte_fib6_conf conf6{};
    conf6.type = RTE_FIB6_TRIE;
    conf6.default_nh = kUnknownHop;
    conf6.max_routes = static_cast<int>(max_routes);
    conf6.trie.nh_sz = RTE_FIB6_TRIE_2B;
    conf6.trie.num_tbl8 = kGroups6;
    impl.v6 = rte_fib6_create("routes6", SOCKET_ID_ANY, &conf6);
    if (impl.v4 == nullptr || impl.v6 == nullptr) {
        return fail("no memory for the route tables ({}); raise memory.megabytes in the profile by 100",
                    rte_strerror(rte_errno));
    }
    return routes;
}

NextHop Routes::lookup4(uint32_t address) const {
    uint32_t host = ntohl(address);
    uint64_t hop = kUnknownHop;
    rte_fib_lookup_bulk(impl_->v4, &host, &hop, 1);
    return impl_->hops[hop].load();
}

NextHop Routes::lookup6(const uint8_t address[16]) const {
    uint8_t copy[1][RTE_FIB6_IPV6_ADDR_SIZE];
    std::memcpy(copy[0], address, sizeof copy[0]);
    uint64_t hop = kUnknownHop;
    rte_fib6_lookup_bulk(impl_->v6, copy, &hop, 1);
    return impl_->hops[hop].load();
}

Result<HopId> Routes::make_hop() {
    if (impl_->free_hops.empty()) return fail("all {} next hops are in use", kMaxHops);
    impl_->before_change();  // a freed id may still be in a worker's hands
    const HopId hop = impl_->free_hops.back();
    impl_->free_hops.pop_back();
    return hop;
}

void Routes::set_hop(HopId hop, const NextHop& to) {
    if (hop != kUnknownHop) impl_->hops[hop].store(to);
}

void Routes::free_hop(HopId hop) {
    if (hop == kUnknownHop) return;
    impl_->own[hop] = true;
    impl_->release(hop);
    impl_->after_change();
}

Result<void> Routes::set4(in_addr prefix, uint8_t length, HopId hop) {
    impl_->before_change();
    const uint32_t host = ntohl(prefix.s_addr);
    const HopId old = impl_->find4(host, length);
    const int code = rte_fib_add(impl_->v4, host, length, hop);
    if (code == 0 && old != hop) impl_->release(old);
    impl_->after_change();
    if (code != 0) return fail("route table full: {}", rte_strerror(-code));
    return {};
}

Result<void> Routes::set6(const in6_addr& prefix, uint8_t length, HopId hop) {
    impl_->before_change();
    const HopId old = impl_->find6(prefix.s6_addr, length);
    const int code = rte_fib6_add(impl_->v6, prefix.s6_addr, length, hop);
    if (code == 0 && old != hop) impl_->release(old);
    impl_->after_change();
    if (code != 0) return fail("IPv6 route table full: {}", rte_strerror(-code));
    return {};
}

Result<void> Routes::set4(in_addr prefix, uint8_t length, const NextHop& via) {
    auto hop = make_hop();
    if (!hop) return tl::make_unexpected(hop.error());
    set_hop(*hop, via);
    auto done = set4(prefix, length, *hop);
    impl_->own[*hop] = true;
    if (!done) impl_->release(*hop);
    return done;
}

Result<void> Routes::set6(const in6_addr& prefix, uint8_t length, const NextHop& via) {
    auto hop = make_hop();
    if (!hop) return tl::make_unexpected(hop.error());
    set_hop(*hop, via);
    auto done = set6(prefix, length, *hop);
    impl_->own[*hop] = true;
    if (!done) impl_->release(*hop);
    return done;
}

void Routes::erase4(in_addr prefix, uint8_t length) {
    impl_->before_change();
    const uint32_t host = ntohl(prefix.s_addr);
    const HopId old = impl_->find4(host, length);
    if (rte_fib_delete(impl_->v4, host, length) == 0) impl_->release(old);
    impl_->after_change();
}

void Routes::erase6(const in6_addr& prefix, uint8_t length) {
    impl_->before_change();
    const HopId old = impl_->find6(prefix.s6_addr, length);
    if (rte_fib6_delete(impl_->v6, prefix.s6_addr, length) == 0) impl_->release(old);
    impl_->after_change();
}

}  // namespace keyrail
