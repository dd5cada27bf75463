// SPDX-License-Identifier: Apache-2.0
// The kernel's end is DPDK's net_tap: it needs only /dev/net/tun, an idle one costs no system call per poll
// (the kernel signals packets by SIGIO), and it goes away with the process, even a killed one. virtio_user
// would be faster, but wants /dev/vhost-net, and this path only carries ARP, ND and what an operator sends to
// the dispatcher.
#include "dataplane/io/ports.h"

#include <net/if.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

#include "dataplane/io/device.h"

namespace keyrail {
namespace {

constexpr uint16_t kTapQueues = 16;  // RTE_PMD_TAP_MAX_QUEUES
constexpr uint16_t kDescriptors = 1024;
constexpr uint16_t kTapDescriptors = 256;
constexpr unsigned kMempoolCache = 256;

const char* reason(int code) { return rte_strerror(code < 0 ? -code : code); }

/// Adaptive mode sleeps between polls: busy polling inside the driver would cost a system call for each of
/// them.
std::string complete_arguments(const std::string& device, PollMode poll) {
    const bool quiet = poll == PollMode::adaptive && device.starts_with("net_af_xdp") &&
                       device_argument(device, "busy_budget").empty();
    return quiet ? device + ",busy_budget=0" : device;
}

/// A queue that no worker polls would swallow the flows that the kernel sends to it.
Result<Queues> plan_queues(const std::string& device, uint16_t id, uint16_t workers) {
    rte_eth_dev_info info{};
    if (const int code = rte_eth_dev_info_get(id, &info); code != 0)
        return fail("no device info: {}", reason(code));
    const bool fixed = device.starts_with("net_af_xdp") || device.starts_with("net_af_packet");
    if (fixed && info.max_rx_queues > workers) {
        return fail("it has {} queues for {} workers; give it as many queues as workers, or fewer",
                    info.max_rx_queues, workers);
    }
    return Queues{.rx = std::min(workers, info.max_rx_queues),
                  .tx = std::min(workers, info.max_tx_queues),
                  .descriptors = kDescriptors};
}

Result<void> set_mac(const PortProfile& profile, uint16_t id, MacAddress& mac) {
    rte_ether_addr address{};
    int code = profile.mac.empty() ? -ENOTSUP : 0;
    if (code == 0) {
        rte_ether_unformat_addr(profile.mac.c_str(), &address);
        code = rte_eth_dev_default_mac_addr_set(id, &address);
    }
    // Devices without an address of their own (net_ring) also do not look at those of frames: the profile's
    // is good.
    if (code == -ENOTSUP && profile.mac.empty()) code = rte_eth_macaddr_get(id, &address);
    if (code != 0 && code != -ENOTSUP)
        return fail("it does not take the MAC {}: {}", profile.mac, reason(code));
    if (rte_is_valid_assigned_ether_addr(&address) == 0) return fail("it has no MAC; give the port a 'mac'");
    std::memcpy(mac.data(), address.addr_bytes, mac.size());
    return {};
}

Result<void> open_wire(const PortProfile& profile, PollMode poll, uint16_t workers, rte_mempool* pool,
                       Port& port) {
    port.wire_interface = wire_interface(profile.device);
    auto id = probe_device(complete_arguments(profile.device, poll));
    if (!id) return tl::make_unexpected(id.error());
    port.device = *id;
    auto queues = plan_queues(profile.device, *id, workers);
    if (!queues) return tl::make_unexpected(queues.error());
    port.queues = queues->rx;
    port.tx_queues = queues->tx;
    if (auto good = start_device(*id, *queues, pool); !good) return good;
    if (auto good = set_mac(profile, *id, port.mac); !good) return good;
    // Neighbour discovery again; virtual devices that know no filter say "not supported" to both.
    if (rte_eth_allmulticast_enable(*id) != 0 && port.wire_interface.empty()) rte_eth_promiscuous_enable(*id);
    return {};
}

Result<void> open_tap(const PortProfile& profile, size_t index, uint16_t workers, rte_mempool* pool,
                      Port& port) {
    const std::string& name = profile.kernel_interface;
    char mac[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_addr address;
    std::memcpy(address.addr_bytes, port.mac.data(), port.mac.size());
    rte_ether_format_addr(mac, sizeof mac, &address);
    auto id = probe_device(fmt::format("net_tap{},iface={},mac={}", index, name, mac));
    if (!id) return fail("{} (does /dev/net/tun exist?)", id.error().message);
    port.kernel = *id;
    port.kernel_queues = std::min(workers, kTapQueues);
    const Queues queues{.rx = port.kernel_queues, .tx = port.kernel_queues, .descriptors = kTapDescriptors};
    if (auto good = start_device(*id, queues, pool); !good) return good;
    port.kernel_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
    return {};
}

/// Before any device is touched: a second AF_XDP socket would take the packets away from a dispatcher that
/// runs.
Result<void> check_names(const Profile& profile) {
    for (const PortProfile& port : profile.ports) {
        if (if_nametoindex(port.kernel_interface.c_str()) == 0) continue;
        return fail(
            "port {} ({}): there is an interface '{}' already: another keyrail-dp runs here, or the port "
            "needs "
            "another kernel_interface",
            port.name, port.device, port.kernel_interface);
    }
    return {};
}

}  // namespace

Result<Ports> open_ports(const Profile& profile, uint16_t queues) {
    if (auto good = check_names(profile); !good) return tl::make_unexpected(good.error());
    Ports ports;
    ports.pool = rte_pktmbuf_pool_create("mbufs", profile.mbufs, kMempoolCache, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                         SOCKET_ID_ANY);
    if (ports.pool == nullptr) {
        return fail("no memory for {} mbufs: {}; raise memory.megabytes or lower memory.mbufs in {}",
                    profile.mbufs, rte_strerror(rte_errno), profile.file.string());
    }
    for (size_t i = 0; i < profile.ports.size(); ++i) {
        const PortProfile& wanted = profile.ports[i];
        Port& port = ports.list.emplace_back();
        port.name = wanted.name;
        port.role = wanted.role == "front" ? PortRole::front : PortRole::back;
        port.device = port.kernel = RTE_MAX_ETHPORTS;
        auto good = open_wire(wanted, profile.poll, queues, ports.pool, port);
        if (good) good = open_tap(wanted, i, queues, ports.pool, port);
        if (!good) {
            close_ports(ports);
            return fail("port {} ({}): {}", wanted.name, wanted.device, good.error().message);
        }
    }
    return ports;
}

void close_ports(Ports& ports) {
    for (const Port& port : ports.list) {
        close_device(port.kernel);
        close_device(port.device);
    }
    ports.list.clear();
    rte_mempool_free(ports.pool);
    ports.pool = nullptr;
}

}  // namespace keyrail
