// SPDX-License-Identifier: Apache-2.0
#include "control/agent/accept_probe.h"

#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <thread>

#include "control/agent/accept_watch.h"

namespace keyrail {

namespace {

using Bytes = std::vector<uint8_t>;

void put16(Bytes& to, uint32_t value) {
    to.push_back(static_cast<uint8_t>(value >> 8));
    to.push_back(static_cast<uint8_t>(value));
}
void put32(Bytes& to, uint32_t value) {
    put16(to, value >> 16);
    put16(to, value & 0xffff);
}
void put(Bytes& to, std::span<const uint8_t> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

std::span<const uint8_t> bytes_of(const IpAddress& address) {
    return std::span(address.bytes).first(address.family == AF_INET ? 4 : 16);
}

/// RFC 1071; the number of bytes is even.
uint16_t checksum(const Bytes& bytes) {
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.size(); i += 2) sum += uint32_t{bytes[i]} << 8 | bytes[i + 1];
    while (sum >> 16 != 0) sum = (sum >> 16) + (sum & 0xffff);
    return static_cast<uint16_t>(~sum);
}

void set16(Bytes& in, size_t at, uint16_t value) {
    in[at] = static_cast<uint8_t>(value >> 8);
    in[at + 1] = static_cast<uint8_t>(value);
}

uint64_t mac_of(const ProbeClient& client, uint8_t options, uint16_t period) {
    kr_cookie_tuple tuple{};
    const auto from = client.from.address.mapped(), to = client.to.address.mapped();
    std::memcpy(&tuple.word[0], from.data(), 16);
    std::memcpy(&tuple.word[2], to.data(), 16);
    tuple.word[4] = kr_cookie_last(client.isn, client.from.port, client.to.port);
    return kr_cookie_mac(&tuple, options, period, &client.key);
}

/// With timestamps: without them a cookie is not believed while others are guessed.
Bytes tcp_of(const ProbeClient& client, bool reset) {
    constexpr uint8_t kAck = 0x10, kRst = 0x04, kWords = 8;
    const auto options = static_cast<uint8_t>(client.key_id << KR_COOKIE_KEY_SHIFT | KR_COOKIE_NO_WSCALE);
    const uint16_t period = kr_cookie_period(client.tai_ms);
    const uint64_t mac = mac_of(client, options, period);
    Bytes tcp;
    put16(tcp, client.from.port);
    put16(tcp, client.to.port);
    put32(tcp, client.isn + 1);
    put32(tcp, kr_cookie_isn(mac, kr_cookie_clear(options, period)) + 1);
    put16(tcp, uint32_t{kWords} << 12 | (reset ? kRst : kAck));
    put16(tcp, KR_COOKIE_WINDOW);
    put32(tcp, 0);  // checksum, urgent pointer
    put32(tcp, 0x0101080a);
    put32(tcp, 1);
    put32(tcp, kr_cookie_tsval(mac, client.tai_ms));
    Bytes summed;
    put(summed, bytes_of(client.from.address));
    put(summed, bytes_of(client.to.address));
    put32(summed, static_cast<uint32_t>(tcp.size()));
    put32(summed, IPPROTO_TCP);
    put(summed, tcp);
    set16(tcp, 16, checksum(summed));
    return tcp;
}

Bytes ip_of(const ProbeClient& client, size_t length) {
    constexpr uint32_t kTtl = 64;
    Bytes ip;
    const bool v6 = client.to.address.family == AF_INET6;
    if (v6) {
        put32(ip, uint32_t{6} << 28);
        put32(ip, static_cast<uint32_t>(length) << 16 | uint32_t{IPPROTO_TCP} << 8 | kTtl);
    } else {
        put32(ip, 0x45000000 | static_cast<uint32_t>(20 + length));
        put32(ip, 0x4000);  // don't fragment
        put32(ip, kTtl << 24 | uint32_t{IPPROTO_TCP} << 16);
    }
    put(ip, bytes_of(client.from.address));
    put(ip, bytes_of(client.to.address));
    if (!v6) set16(ip, 10, checksum(ip));
    return ip;
}

std::optional<std::array<uint8_t, 6>> address_of(const std::string& interface) {
    ifreq request{};
    if (interface.size() >= sizeof request.ifr_name) return std::nullopt;
    std::ranges::copy(interface, std::begin(request.ifr_name));
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool known = fd >= 0 && ioctl(fd, SIOCGIFHWADDR, &request) == 0;
    if (fd >= 0) close(fd);
    if (!known) return std::nullopt;
    std::array<uint8_t, 6> address{};
    std::memcpy(address.data(), &request.ifr_hwaddr.sa_data, address.size());
    return address;
}

uint32_t random32() {
    uint32_t value = 0;
    return RAND_bytes(reinterpret_cast<uint8_t*>(&value), sizeof value) == 1 ? value : 0;
}

}  // namespace

std::vector<uint8_t> probe_frame(const ProbeClient& client, bool reset) {
    const Bytes tcp = tcp_of(client, reset), ip = ip_of(client, tcp.size());
    Bytes frame;
    put(frame, client.interface);
    put(frame, std::array<uint8_t, 6>{0x02});  // locally administered: nobody
    put16(frame, client.to.address.family == AF_INET6 ? ETH_P_IPV6 : ETH_P_IP);
    put(frame, ip);
    put(frame, tcp);
    return frame;
}

/// Any port, so that a probe meets nothing of the one before. Where `from_` is of the other family, somebody
/// whom nobody is: nothing is sent there, and no kernel asks by default whether it could be (RFC 4193).
HostPort AcceptProbe::client_for(const HostPort& server) const {
    HostPort from{from_, static_cast<uint16_t>(32768 + random32() % 28000)};
    if (from_.family == server.address.family) return from;
    from.address =
        server.address.family == AF_INET6 ? *parse_ip("fd6b:7261:696c::1") : *parse_ip("192.0.2.1");
    return from;
}

bool AcceptProbe::arrives(const ProbeClient& client) {
    constexpr int kLooks = 4;  // mostly it is there at once: the packet is received within the call
    for (int i = 0; i < kLooks; i++) {
        if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(i));
        if (sockets_->find(client.to, client.from).presence == SockDiag::Presence::present) return true;
    }
    return false;
}

AcceptProbe::Outcome AcceptProbe::probe(const AcceptProgram& program, const HostPort& server) {
    if (!sockets_) {
        auto opened = SockDiag::open();
        if (!opened) return Outcome::unknown;
        sockets_.emplace(std::move(*opened));
    }
    const auto interface = address_of(interface_);
    auto key = program.a_key();
    if (!interface || !key) return Outcome::unknown;
    ProbeClient client{client_for(server), server,           random32(), key->first,
                       key->second,        program.tai_ms(), *interface};
    const auto frame = probe_frame(client, false), reset = probe_frame(client, true);
    OPENSSL_cleanse(&client.key, sizeof client.key);
    OPENSSL_cleanse(&key->second, sizeof key->second);
    const uint64_t taken = program.counters()[KR_ACCEPT_ASSIGNED], full = connections_refused();
    if (const auto received = program.receive(frame); !received) return Outcome::unknown;
    if (arrives(client)) {
        (void)program.receive(reset);  // else the server ends it when it has waited for long enough
        return Outcome::reached;
    }
    const bool accepted = program.counters()[KR_ACCEPT_ASSIGNED] != taken;
    return accepted && connections_refused() == full ? Outcome::lost : Outcome::unknown;
}

void ProbeResults::saw(const HostPort& server, AcceptProbe::Outcome outcome) {
    if (outcome == AcceptProbe::Outcome::unknown) return;
    int& lost = lost_[server];
    lost = outcome == AcceptProbe::Outcome::lost ? lost + 1 : 0;
}

void ProbeResults::keep(const std::set<HostPort>& servers) {
    std::erase_if(lost_, [&](const auto& entry) { return !servers.contains(entry.first); });
}

std::vector<HostPort> ProbeResults::doubtful() const {
    std::vector<HostPort> all;
    for (const auto& [server, lost] : lost_)
        if (lost != 0) all.push_back(server);
    return all;
}

std::optional<std::string> ProbeResults::problem() const {
    for (const auto& [server, lost] : lost_)
        if (lost >= kLost) return lost_on_the_way(server.text());
    return std::nullopt;
}

}  // namespace keyrail
