// SPDX-License-Identifier: Apache-2.0
// Routes and hops; the tables themselves and their traps are in fib.h.
#include "dataplane/tables/routes.h"

#include <arpa/inet.h>
#include <rte_errno.h>

#include <cstring>
#include <vector>

#include "dataplane/tables/fib.h"

namespace keyrail {
namespace {

Fib6::Key key_of(const in6_addr& address) {
    Fib6::Key key;
    std::memcpy(key.data(), &address, key.size());
    return key;
}

}  // namespace

struct Routes::Impl {
    Grace grace;
    Fib<Fib4> v4;
    Fib<Fib6> v6;
    std::vector<AtomicNextHop> hops = std::vector<AtomicNextHop>(kMaxHops + 1);
    std::vector<bool> own = std::vector<bool>(kMaxHops + 1);  // made by set4/set6 with a NextHop
    std::vector<HopId> free_hops;

    Impl(uint32_t max_routes, rte_rcu_qsbr* rcu)
        : grace(rcu), v4("routes4-", max_routes, grace), v6("routes6-", max_routes, grace) {
        for (HopId hop = kMaxHops; hop > kUnknownHop; --hop) free_hops.push_back(hop);
    }

    /// What must happen when a route no longer leads to `hop`.
    void release(uint64_t hop) {
        if (!own[hop]) return;
        own[hop] = false;
        hops[hop].store({});
        free_hops.push_back(static_cast<HopId>(hop));
    }

    template <typename Table>
    Result<void> set(Table& table, const typename Table::Key& key, uint8_t length, HopId hop) {
        const uint64_t old = table.find(key, length);
        if (const int code = table.add(key, length, hop); code != 0) {
            return fail("no room for the route ({}); raise memory.routes in the profile",
                        rte_strerror(-code));
        }
        if (old != hop) release(old);
        return {};
    }
    template <typename Table>
    void erase(Table& table, const typename Table::Key& key, uint8_t length) {
        const uint64_t old = table.find(key, length);
        if (table.remove(key, length)) release(old);
    }
    /// `set` with a hop of the route's own.
    template <typename Set>
    Result<void> set_own(Routes& routes, const NextHop& via, Set set) {
        const auto hop = routes.make_hop();
        if (!hop) return tl::make_unexpected(hop.error());
        hops[*hop].store(via);
        auto done = set(*hop);
        own[*hop] = true;
        if (!done) release(*hop);
        return done;
    }
};

Routes::Routes() = default;
Routes::~Routes() = default;

Result<std::unique_ptr<Routes>> Routes::create(uint32_t max_routes, rte_rcu_qsbr* rcu) {
    std::unique_ptr<Routes> routes(new Routes);
    routes->impl_ = std::make_unique<Impl>(max_routes, rcu);
    if (!routes->impl_->v4.good() || !routes->impl_->v6.good()) {
        return fail("no memory for the route tables; raise memory.megabytes in the profile by 100");
    }
    return routes;
}

void Routes::lookup4(std::span<const uint32_t> addresses, std::span<NextHop> hops) const {
    constexpr size_t kMaxBurst = 64;
    std::array<uint32_t, kMaxBurst> host;
    std::array<uint64_t, kMaxBurst> ids;
    for (size_t i = 0; i < addresses.size(); i++) host[i] = ntohl(addresses[i]);
    rte_fib_lookup_bulk(impl_->v4.reader(), host.data(), ids.data(), static_cast<int>(addresses.size()));
    for (size_t i = 0; i < addresses.size(); i++) hops[i] = impl_->hops[ids[i]].load();
}

NextHop Routes::lookup4(uint32_t address) const {
    NextHop hop;
    lookup4({&address, 1}, {&hop, 1});
    return hop;
}

NextHop Routes::lookup6(const uint8_t address[16]) const {
    uint8_t copy[1][16];
    std::memcpy(copy[0], address, sizeof copy[0]);
    uint64_t hop = kUnknownHop;
    rte_fib6_lookup_bulk(impl_->v6.reader(), rte6s(copy), &hop, 1);
    return impl_->hops[hop].load();
}

Result<HopId> Routes::make_hop() {
    if (impl_->free_hops.empty()) return fail("all {} next hops are in use", kMaxHops);
    impl_->grace.wait();  // a freed id may still be in a worker's hands
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
    impl_->grace.changed();
}

Result<void> Routes::set4(in_addr prefix, uint8_t length, HopId hop) {
    return impl_->set(impl_->v4, ntohl(prefix.s_addr), length, hop);
}
Result<void> Routes::set6(const in6_addr& prefix, uint8_t length, HopId hop) {
    return impl_->set(impl_->v6, key_of(prefix), length, hop);
}
Result<void> Routes::set4(in_addr prefix, uint8_t length, const NextHop& via) {
    return impl_->set_own(*this, via, [&](HopId hop) { return set4(prefix, length, hop); });
}
Result<void> Routes::set6(const in6_addr& prefix, uint8_t length, const NextHop& via) {
    return impl_->set_own(*this, via, [&](HopId hop) { return set6(prefix, length, hop); });
}
void Routes::erase4(in_addr prefix, uint8_t length) { impl_->erase(impl_->v4, ntohl(prefix.s_addr), length); }
void Routes::erase6(const in6_addr& prefix, uint8_t length) {
    impl_->erase(impl_->v6, key_of(prefix), length);
}

}  // namespace keyrail
