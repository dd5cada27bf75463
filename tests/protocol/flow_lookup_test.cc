// SPDX-License-Identifier: Apache-2.0
// Whose is a connection? The agent's exact look-ups in a real kernel, in a network namespace of their own.
#include "control/agent/flow_lookup.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "chassis.pb.h"
#include "tests/support/own_network.h"

namespace keyrail {
namespace {

using chassis::FlowsFound;
using testing::in_own_network;
using Time = FlowLookup::Time;

/// An address of loopback, as the system calls want it.
struct At {
    explicit At(int family, uint16_t port = 0) {
        storage.ss_family = static_cast<sa_family_t>(family);
        if (family == AF_INET6) {
            auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
            v6.sin6_addr = in6addr_loopback;
            v6.sin6_port = htons(port);
            size = sizeof v6;
        } else {
            auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
            v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            v4.sin_port = htons(port);
            size = sizeof v4;
        }
    }
    [[nodiscard]] uint16_t port() const {
        return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_port
                                                   : reinterpret_cast<const sockaddr_in&>(storage).sin_port);
    }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
    sockaddr_storage storage{};
    socklen_t size = 0;
};

/// A connection to a listener, and both ports. `dual`: the listener is an IPv6 socket that takes IPv4, too.
struct Connection {
    explicit Connection(int family, bool dual = false) : family_of_packets(family) {
        listener = socket(dual ? AF_INET6 : family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        At at(dual ? AF_INET6 : family);
        if (dual) reinterpret_cast<sockaddr_in6&>(at.storage).sin6_addr = in6addr_any;
        EXPECT_EQ(bind(listener, at.raw(), at.size), 0);
        EXPECT_EQ(listen(listener, 1), 0);
        EXPECT_EQ(getsockname(listener, at.raw(), &at.size), 0);
        server_port = at.port();
        client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        At to(family, server_port);
        EXPECT_EQ(connect(client, to.raw(), to.size), 0);
        At from(family);
        EXPECT_EQ(getsockname(client, from.raw(), &from.size), 0);
        client_port = from.port();
        server = accept(listener, nullptr, nullptr);
    }
    ~Connection() {
        for (const int fd : {client, server, listener}) close(fd);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    int family_of_packets;
    int listener, client, server;
    uint16_t server_port = 0, client_port = 0;
};

std::string loopback(int family) {
    if (family == AF_INET) return {127, 0, 0, 1};
    std::string bytes(16, '\0');
    bytes[15] = 1;
    return bytes;
}

void add(chassis::FindFlows& question, int family, uint16_t client_port, uint16_t port) {
    auto& flow = *question.add_flows();
    flow.set_id(static_cast<uint64_t>(question.flows_size()));
    flow.set_client(loopback(family));
    flow.set_client_port(client_port);
    flow.set_address(loopback(family));
    flow.set_port(port);
}

int presence(FlowLookup& lookup, int family, uint16_t client_port, uint16_t port) {
    chassis::FindFlows question;
    add(question, family, client_port, port);
    const FlowsFound found = lookup.look(question, Time{});
    return found.answers_size() == 1 ? static_cast<int>(found.answers(0).presence()) : -1;
}

struct Row {
    const char* name;
    int family;
    bool dual;
};
class FlowLookupTest : public ::testing::TestWithParam<Row> {};
INSTANTIATE_TEST_SUITE_P(Table, FlowLookupTest,
                         ::testing::Values(Row{"ipv4", AF_INET, false}, Row{"ipv6", AF_INET6, false},
                                           Row{"ipv4_of_an_ipv6_listener", AF_INET, true}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(FlowLookupTest, FindsWhatIsThereAndNothingElse) {
    in_own_network([] {
        const int family = GetParam().family;
        FlowLookup lookup;
        uint16_t client_port = 0, port = 0;
        {
            const Connection there(family, GetParam().dual);
            client_port = there.client_port;
            port = there.server_port;
            EXPECT_EQ(presence(lookup, family, client_port, port), FlowsFound::PRESENT);
            EXPECT_EQ(presence(lookup, family, static_cast<uint16_t>(client_port ^ 1), port),
                      FlowsFound::ABSENT)
                << "that there is a listener says nothing";
            EXPECT_EQ(presence(lookup, family, client_port, static_cast<uint16_t>(port ^ 1)),
                      FlowsFound::ABSENT);
            shutdown(there.server, SHUT_WR);  // it closes first: TIME_WAIT is its own
            char byte;
            EXPECT_EQ(read(there.client, &byte, 1), 0);
            EXPECT_EQ(presence(lookup, family, client_port, port), FlowsFound::PRESENT) << "half-closed";
            shutdown(there.client, SHUT_WR);
            EXPECT_EQ(read(there.server, &byte, 1), 0);
        }
        EXPECT_EQ(presence(lookup, family, client_port, port), FlowsFound::TIME_WAIT);
    });
}

TEST(FlowLookup, SeesItsOwnNetworkOnly) {
    in_own_network([] {
        const Connection here(AF_INET);
        std::thread([&] {
            ASSERT_EQ(unshare(CLONE_NEWNET), 0);
            FlowLookup elsewhere;
            EXPECT_EQ(presence(elsewhere, AF_INET, here.client_port, here.server_port), FlowsFound::ABSENT);
        }).join();
    });
}

TEST(FlowLookup, AnswersEachAndIsBounded) {
    in_own_network([] {
        const Connection there(AF_INET);
        FlowLookup lookup;
        chassis::FindFlows question;
        for (int i = 0; i < 2 * FlowLookup::kMax; i++)
            add(question, AF_INET, i % 2 != 0 ? there.client_port : uint16_t{9}, there.server_port);
        const Time now = Time{} + std::chrono::hours(1);
        FlowsFound found = lookup.look(question, now);
        ASSERT_EQ(found.answers_size(), FlowLookup::kMax);
        for (int i = 0; i < found.answers_size(); i++) {
            EXPECT_EQ(found.answers(i).id(), question.flows(i).id());
            EXPECT_EQ(found.answers(i).presence(), i % 2 != 0 ? FlowsFound::PRESENT : FlowsFound::ABSENT);
        }
        for (int i = FlowLookup::kMax; i < FlowLookup::kMaxASecond; i += FlowLookup::kMax)
            found = lookup.look(question, now);
        EXPECT_EQ(found.answers(1).presence(), FlowsFound::PRESENT);
        EXPECT_EQ(lookup.look(question, now).answers(1).presence(), FlowsFound::UNKNOWN)
            << "enough for this second";
        EXPECT_EQ(lookup.look(question, now + std::chrono::seconds(1)).answers(1).presence(),
                  FlowsFound::PRESENT);
    });
}

TEST(FlowLookup, WhatMakesNoSenseIsNotLookedUp) {
    in_own_network([] {
        FlowLookup lookup;
        chassis::FindFlows question;
        for (int i = 0; i < 4; i++) add(question, AF_INET, 1000, 443);
        question.mutable_flows(0)->set_client("abc");
        question.mutable_flows(1)->set_address(std::string(16, 'x'));
        question.mutable_flows(2)->set_port(1 << 16);
        question.mutable_flows(3)->set_client_port(1 << 20);
        const FlowsFound found = lookup.look(question, Time{});
        ASSERT_EQ(found.answers_size(), 4);
        for (const auto& answer : found.answers()) EXPECT_EQ(answer.presence(), FlowsFound::UNKNOWN);
        EXPECT_EQ(lookup.look({}, Time{}).answers_size(), 0);
    });
}

}  // namespace
}  // namespace keyrail
