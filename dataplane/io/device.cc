// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/device.h"

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

#include "dataplane/io/eal.h"

namespace keyrail {
namespace {

const char* reason(int code) { return rte_strerror(code < 0 ? -code : code); }

std::string device_name(const std::string& device) { return device.substr(0, device.find(',')); }

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

rte_eth_conf device_configuration(const rte_eth_dev_info& info, uint16_t rx_queues) {
    rte_eth_conf configuration{};
    const uint64_t hash = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
    if (rx_queues > 1 && hash != 0) {
        configuration.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        configuration.rx_adv_conf.rss_conf.rss_hf = hash;
    }
    return configuration;
}

}  // namespace

std::string device_argument(const std::string& device, const std::string& key) {
    const size_t at = device.find("," + key + "=");
    if (at == std::string::npos) return "";
    const size_t begin = at + key.size() + 2;
    return device.substr(begin, device.find(',', begin) - begin);
}

std::string wire_interface(const std::string& device) {
    // in net_tap's arguments it names what is to be made, in net_vhost's a socket
    if (is_pci_device(device) || device.starts_with("net_tap") || device.starts_with("net_vhost")) return "";
    return device_argument(device, "iface");
}

Result<uint16_t> probe_device(const std::string& device) {
    if (const std::string below = wire_interface(device); !below.empty()) {
        if (auto up = set_interface_up(below); !up) return tl::make_unexpected(up.error());
    }
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

}  // namespace keyrail
