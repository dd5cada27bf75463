// SPDX-License-Identifier: Apache-2.0
// The kernel's end is DPDK's net_tap: it needs only /dev/net/tun, an idle one costs no system call per poll
// (the kernel signals packets by SIGIO), and it goes away with the process, even a killed one. virtio_user
// would be faster, but wants /dev/vhost-net, and this path only carries ARP, ND and what an operator sends to
// the dispatcher.
#include "dataplane/io/ports.h"

#include <net/if.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dataplane/eal.h"

namespace keyrail {
namespace {

constexpr uint16_t kTapQueues = 16;  // RTE_PMD_TAP_MAX_QUEUES
constexpr uint16_t kDescriptors = 1024;
constexpr uint16_t kTapDescriptors = 256;
constexpr unsigned kMempoolCache = 256;

const char* reason(int code) { return rte_strerror(code < 0 ? -code : code); }

std::string device_name(const std::string& device) { return device.substr(0, device.find(',')); }

/// Value of `key=` in a device string, "" where there is none.
std::string device_argument(const std::string& device, const std::string& key) {
    const size_t at = device.find("," + key + "=");
    if (at == std::string::npos) return "";
    const size_t begin = at + key.size() + 2;
    return device.substr(begin, device.find(',', begin) - begin);
}

/// AF_XDP and AF_PACKET neither bring their interface up nor say why nothing is received from one that is
/// down.
Result<void> set_interface_up(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    // ALLMULTI: IPv6 neighbour discovery is multicast to groups that only the TAP has joined.
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_ALLMULTI);
    good = good && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    const int error = errno;
    if (fd >= 0) close(fd);
    if (!good) return fail("interface '{}' cannot be brought up: {}", name, strerror(error));
    return {};
}

/// Adaptive mode sleeps between polls: busy polling inside the driver would cost a system call for each of
/// them.
std::string complete_arguments(const std::string& device, PollMode poll) {
    const bool quiet = poll == PollMode::adaptive && device.starts_with("net_af_xdp") &&
                       device_argument(device, "busy_budget").empty();
    return quiet ? device + ",busy_budget=0" : device;
}

Result<uint16_t> probe(const std::string& device) {
    if (!is_pci_device(device)) {
        if (const int code = rte_dev_probe(device.c_str()); code != 0) {
            return fail("DPDK does not take '{}': {}; its own messages above say more", device, reason(code));
        }
    }
    uint16_t id = 0;
    if (rte_eth_dev_get_port_by_name(device_name(device).c_str(), &id) != 0) {
        return fail("no network device '{}'; is it bound to vfio-pci (dpdk-devbind.py --status)?", device);
    }
    return id;
}

struct Queues {
    uint16_t rx, tx, descriptors;
};

rte_eth_conf device_configuration(const rte_eth_dev_info& info, uint16_t rx_queues) {
    rte_eth_conf configuration{};
    const uint64_t hash = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
    if (rx_queues > 1 && hash != 0) {
        configuration.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        configuration.rx_adv_conf.rss_conf.rss_hf = hash;
    }
    return configuration;
}

Result<void> start_device(uint16_t id, const Queues& queues, rte_mempool* pool) {
    rte_eth_dev_info info{};
    int code = rte_eth_dev_info_get(id, &info);
    const rte_eth_conf configuration = device_configuration(info, queues.rx);
    if (code == 0) code = rte_eth_dev_configure(id, queues.rx, queues.tx, &configuration);
    if (code != 0) return fail("it refuses {} rx and {} tx queues: {}", queues.rx, queues.tx, reason(code));

    uint16_t rx = queues.descriptors, tx = queues.descriptors;
    code = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx, &tx);
    const auto node = static_cast<unsigned>(std::max(rte_eth_dev_socket_id(id), 0));
    for (uint16_t i = 0; i < queues.rx && code == 0; ++i)
        code = rte_eth_rx_queue_setup(id, i, rx, node, nullptr, pool);
    for (uint16_t i = 0; i < queues.tx && code == 0; ++i)
        code = rte_eth_tx_queue_setup(id, i, tx, node, nullptr);
    if (code != 0) return fail("its queues cannot be set up: {}", reason(code));
    if (code = rte_eth_dev_start(id); code != 0) return fail("it does not start: {}", reason(code));
    return {};
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
    port.wire_interface = is_pci_device(profile.device) ? "" : device_argument(profile.device, "iface");
    if (profile.device.starts_with("net_tap")) port.wire_interface = "";  // there it names what is to be made
    if (!port.wire_interface.empty()) {
        if (auto up = set_interface_up(port.wire_interface); !up) return up;
    }
    auto id = probe(complete_arguments(profile.device, poll));
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
    auto id = probe(fmt::format("net_tap{},iface={},mac={}", index, name, mac));
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

void close_device(uint16_t id) {
    if (rte_eth_dev_is_valid_port(id) == 0) return;
    char name[RTE_ETH_NAME_MAX_LEN];
    rte_eth_dev_info info{};
    const bool is_virtual = rte_eth_dev_get_name_by_port(id, name) == 0 && !is_pci_device(name) &&
                            rte_eth_dev_info_get(id, &info) == 0;
    rte_eth_dev_stop(id);
    rte_eth_dev_close(id);
    if (is_virtual) rte_dev_remove(info.device);  // else the name could not be used again
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
