// SPDX-License-Identifier: Apache-2.0
// Netlink in, KernelTables out: RouteFollower hears what the kernel has, KernelWishes says what is wanted of
// it.
#include "dataplane/link/kernel_routes.h"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <chrono>

#include "dataplane/link/kernel_tables.h"
#include "dataplane/link/kernel_wishes.h"
#include "dataplane/link/route_follower.h"

namespace keyrail {
namespace {

constexpr auto kFirstDumpLimit = std::chrono::seconds(10);

std::vector<int> interfaces_of(const Ports& ports) {
    std::vector<int> list;
    for (const Port& port : ports.list) list.push_back(port.kernel_ifindex);
    return list;
}

}  // namespace

struct KernelRoutes::Impl {
    KernelTables tables;
    RouteFollower follower;
    KernelWishes wishes;

    Impl(const Ports& ports, Shared& shared)
        : tables(interfaces_of(ports), *shared.routes), follower(tables, shared), wishes(tables, shared) {
        tables.on_hop = [this](const NeighbourKey& key, const NextHop& hop) { wishes.hop_changed(key, hop); };
    }

    void receive() {
        follower.receive();
        wishes.place();
        if (!follower.dumping()) wishes.fix_blackholes();
        if (const auto error = tables.take_error()) SPDLOG_ERROR("{}", error->message);
    }
};

KernelRoutes::KernelRoutes() = default;
KernelRoutes::~KernelRoutes() = default;

Result<std::unique_ptr<KernelRoutes>> KernelRoutes::start(const Ports& ports, Shared& shared) {
    std::unique_ptr<KernelRoutes> routes(new KernelRoutes);
    routes->impl_ = std::make_unique<Impl>(ports, shared);
    Impl& impl = *routes->impl_;
    if (auto opened = impl.wishes.open(); !opened) return tl::make_unexpected(opened.error());
    if (auto opened = impl.follower.open(); !opened) return tl::make_unexpected(opened.error());
    const auto limit = std::chrono::steady_clock::now() + kFirstDumpLimit;
    while (impl.follower.dumping()) {
        if (std::chrono::steady_clock::now() > limit)
            return fail("the kernel does not list its routes in time");
        pollfd wait{.fd = impl.follower.descriptor(), .events = POLLIN, .revents = 0};
        poll(&wait, 1, 100);
        impl.receive();
    }
    return routes;
}

std::vector<int> KernelRoutes::descriptors() const {
    return {impl_->follower.descriptor(), impl_->wishes.descriptor()};
}

void KernelRoutes::on_readable() {
    impl_->wishes.receive_errors();
    impl_->receive();
}

void KernelRoutes::tick() { impl_->wishes.refresh_stale(); }
void KernelRoutes::set_blades(std::span<const BladeAddress> blades) { impl_->wishes.set_blades(blades); }
void KernelRoutes::set_vips(std::span<const IpAddress> vips) { impl_->wishes.set_vips(vips); }
const std::vector<BladeId>& KernelRoutes::unreachable() const { return impl_->wishes.unreachable(); }

}  // namespace keyrail
