// SPDX-License-Identifier: Apache-2.0
// The kernel's tables as the workers see them: real netlink in a network namespace of the test's own. The
// TAPs are played by veth ends, the neighbours are entered by hand.
#pragma once

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <functional>

#include "dataplane/link/kernel_routes.h"
#include "dataplane/link/kernel_tables.h"
#include "tests/vdev/eal_fixture.h"

namespace keyrail::test {

inline std::string output_of(const std::string& command) {
    std::string text;
    std::array<char, 512> part;
    FILE* pipe = popen(command.c_str(), "r");
    while (fgets(part.data(), part.size(), pipe) != nullptr) text += part.data();
    pclose(pipe);
    return text;
}

/// "" = unknown, otherwise "<last byte of the MAC>@<port>".
inline std::string show(const NextHop& hop) {
    return !hop.known() ? "" : fmt::format("{:02x}@{}", hop.mac()[5], hop.port());
}

class KernelBench : public testing::Test {
  protected:
    void SetUp() override {
        ip("link add front type veth peer name front-peer");
        ip("link add back type veth peer name back-peer");
        for (const char* name : {"lo", "front", "front-peer", "back", "back-peer"})
            ip(fmt::format("link set {} up", name));
        ip("addr add 192.0.2.1/24 dev front");
        ip("addr add 2001:db8:1::1/64 dev front nodad");
        ip("addr add 10.77.0.1/24 dev back");
        ip("addr add fd77::1/64 dev back nodad");
        for (const char* name : {"front", "back"}) {
            Port port{};
            port.name = name;
            port.kernel_ifindex = static_cast<int>(if_nametoindex(name));
            ports_.list.push_back(port);
        }
        routes_ = std::move(*Routes::create(4096));
        shared_.routes = routes_.get();
    }
    void TearDown() override {
        kernel_.reset();
        ip("link del front");
        ip("link del back");
        shell("ip route flush proto 75; ip -6 route flush proto 75");
    }

    void start() {
        auto started = KernelRoutes::start(ports_, shared_);
        ASSERT_TRUE(started) << started.error().message;
        kernel_ = std::move(*started);
    }
    static bool shell(const std::string& command) { return test::shell(command); }
    static void ip(const std::string& arguments) {
        ASSERT_TRUE(shell("ip " + arguments)) << "ip " << arguments;
    }

    /// Handles events until `good` holds or three seconds have passed.
    bool reaches(const std::function<bool()>& good) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(3);
        while (!good()) {
            if (std::chrono::steady_clock::now() > limit) return false;
            const auto descriptors = kernel_->descriptors();
            pollfd wait[2] = {{descriptors[0], POLLIN, 0}, {descriptors[1], POLLIN, 0}};
            poll(wait, 2, 20);
            kernel_->on_readable();
        }
        return true;
    }
    std::string at(const char* text) {
        const IpAddress address = *parse_ip(text);
        return show(address.family == AF_INET
                        ? routes_->lookup4(*reinterpret_cast<const uint32_t*>(address.bytes.data()))
                        : routes_->lookup6(address.bytes.data()));
    }
    void expect(const char* address, const char* hop) {
        EXPECT_TRUE(reaches([&] { return at(address) == hop; }))
            << address << ": wanted '" << hop << "', found '" << at(address) << "'";
    }
    void blades(const std::vector<std::pair<uint16_t, const char*>>& list) {
        std::vector<BladeAddress> addresses;
        for (const auto& [id, address] : list) addresses.push_back({BladeId(id), *parse_ip(address)});
        kernel_->set_blades(addresses);
    }
    std::string blade(uint16_t id) { return show(shared_.blade_hop[id].load()); }

    Ports ports_;
    Shared shared_;
    std::unique_ptr<Routes> routes_;
    std::unique_ptr<KernelRoutes> kernel_;
};

}  // namespace keyrail::test
