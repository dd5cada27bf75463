// SPDX-License-Identifier: Apache-2.0
// Connections that the accept program accepts, and nobody gets.
#include "control/agent/accept_watch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/agent/server_check.h"

namespace keyrail {
namespace {

class AcceptWatchTest : public testing::Test {
  protected:
    bool lost(uint64_t accepted, uint64_t opened, std::chrono::milliseconds later = std::chrono::seconds(1)) {
        now += later;
        return watch.look(accepted, opened, now).has_value();
    }
    AcceptWatch watch;
    AcceptWatch::Time now{};
};

TEST_F(AcceptWatchTest, WhatArrivesIsWell) {
    EXPECT_FALSE(lost(1000, 7)) << "whatever was before";
    EXPECT_FALSE(lost(1000, 7));
    for (uint64_t i = 1; i < 100; i++) EXPECT_FALSE(lost(1000 + 50 * i, 7 + 51 * i)) << "others come, too";
    EXPECT_FALSE(lost(5960, 5057));
}

TEST_F(AcceptWatchTest, SomeMayBeUnderWay) {
    lost(10, 10);
    EXPECT_FALSE(lost(50, 10)) << "a burst, and the one counter was read before the other";
    EXPECT_FALSE(lost(60, 55));
    EXPECT_FALSE(lost(60, 60));
    for (uint64_t i = 1; i < 50; i++) EXPECT_FALSE(lost(60 + 4 * i, 56 + 4 * i)) << "always a few";
}

TEST_F(AcceptWatchTest, NoneArrives) {
    lost(10, 10);
    EXPECT_FALSE(lost(15, 11)) << "our own checks are opened";
    EXPECT_TRUE(lost(18, 12));
    EXPECT_TRUE(lost(18, 13)) << "bound early, nothing comes that would say so";
    EXPECT_TRUE(lost(18, 63, std::chrono::seconds(50)));
    EXPECT_FALSE(lost(18, 73, std::chrono::seconds(10))) << "tried again";
    EXPECT_FALSE(lost(24, 74));
    EXPECT_TRUE(lost(27, 75));
    EXPECT_TRUE(lost(27, 175, std::chrono::seconds(100))) << "for longer this time";
    EXPECT_FALSE(lost(27, 195, std::chrono::seconds(21)));
    EXPECT_FALSE(lost(40, 210)) << "somebody has mended it";
    EXPECT_FALSE(lost(50, 220));
}

/// The program is attached anew, or our own checks are counted before the kernel counts them.
TEST_F(AcceptWatchTest, StepsBackAreNoNews) {
    lost(1000, 100);
    EXPECT_FALSE(lost(0, 99));
    EXPECT_FALSE(lost(0, 98));
    EXPECT_FALSE(lost(3, 97));
    EXPECT_TRUE(lost(6, 96)) << "and hide nothing";
}

TEST(ConnectionsOpened, AsTheKernelWritesThem) {
    const auto folder = std::filesystem::temp_directory_path() / "keyrail-proc-net";
    std::filesystem::create_directory(folder);
    EXPECT_EQ(connections_opened(folder), 0u);
    std::ofstream(folder / "netstat") << "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 3 2\n"
                                         "IpExt: InNoRoutes\nIpExt: 9\n";
    std::ofstream(folder / "snmp") << "Ip: Forwarding\nIp: 1\nIcmp: InErrors InCsumErrors\nIcmp: 3 5\n"
                                      "Tcp: ActiveOpens PassiveOpens InCsumErrors\nTcp: 7 4294967297 20\n"
                                      "Udp: InCsumErrors\nUdp: 100\n";
    EXPECT_EQ(connections_opened(folder), 4294967319u) << "a client with wrong checksums is no packet filter";
    std::filesystem::remove_all(folder);
}

// --- what a server's first bytes say

std::string server_hello(const std::string& session_id) {
    std::string hello = {22,
                         3,
                         3,
                         0,
                         static_cast<char>(40 + session_id.size()),
                         2,
                         0,
                         0,
                         static_cast<char>(36 + session_id.size()),
                         3,
                         3};
    return hello + std::string(32, 'r') + static_cast<char>(session_id.size()) + session_id + "xyz";
}

TEST(FirstWords, OfAServer) {
    const std::string with = server_hello(std::string(32, 'n'));
    const FirstWords words = read_first_words(with);
    EXPECT_TRUE(words.enough && words.hello);
    EXPECT_EQ(words.session_id, std::string(32, 'n'));
    EXPECT_TRUE(read_first_words(server_hello("")).hello);
    EXPECT_TRUE(read_first_words(server_hello("")).session_id.empty());
    EXPECT_TRUE(read_first_words(std::string({21, 3, 3, 0, 2, 2, 40})).refused);
    EXPECT_TRUE(read_first_words("HTTP/1.1 400").enough);
    EXPECT_FALSE(read_first_words("HTTP/1.1 400").hello);
    EXPECT_FALSE(read_first_words(std::string(60, 22)).hello);
    for (size_t size = 0; size < with.size() - 3; size++)
        EXPECT_FALSE(read_first_words(with.substr(0, size)).enough) << size;
    EXPECT_TRUE(read_first_words(server_hello(std::string(200, 'n')).substr(0, 244)).enough);
}

}  // namespace
}  // namespace keyrail
