// SPDX-License-Identifier: Apache-2.0
// Profiles of the dispatcher: what is read, and that each mistake names its line and what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "dataplane/common/address.h"
#include "dataplane/io/eal.h"
#include "dataplane/profile/profile.h"

namespace keyrail {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class ProfileTest : public testing::Test {
  protected:
    ProfileTest() {
        char name[] = "/tmp/keyrail-profile-XXXXXX";
        close(mkstemp(name));
        file_ = name;
    }
    ~ProfileTest() override { std::filesystem::remove(file_); }

    Result<Profile> read(const std::string& text) {
        std::ofstream(file_) << text;
        return read_profile(file_);
    }
    /// The error, without the file's name: "LINE: what".
    std::string error_of(const std::string& text) {
        const auto profile = read(text);
        if (profile) return "no error";
        EXPECT_THAT(profile.error().message, testing::StartsWith(file_.string() + ":"));
        return profile.error().message.substr(file_.string().size() + 1);
    }

    std::filesystem::path file_;
};

constexpr const char* kPort = R"TOML([[port]]
name = "front0"
role = "front"
device = "net_af_xdp0,iface=front0"
kernel_interface = "front"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
routes = ["default via 192.0.2.254"]
)TOML";

TEST_F(ProfileTest, ReadsEverything) {
    const auto profile = read(std::string(R"TOML([worker]
count = 2
cores = "(0,1,2)@(0,1)"
poll = "adaptive"
[memory]
huge_pages = false
megabytes = 300
mbufs = 8192
flows = 2048
holds = 32
moved = 4096
routes = 2048
)TOML") + kPort + "mac = \"02:00:00:00:00:01\"\n");
    ASSERT_TRUE(profile) << profile.error().message;
    EXPECT_EQ(profile->workers, 2);
    EXPECT_EQ(profile->cores, "(0,1,2)@(0,1)");
    EXPECT_EQ(profile->poll, PollMode::adaptive);
    EXPECT_FALSE(profile->huge_pages);
    EXPECT_EQ(profile->memory_mb, 300u);
    EXPECT_EQ(profile->mbufs, 8192u);
    EXPECT_EQ(profile->flows, 2048u);
    EXPECT_EQ(profile->holds, 32u);
    EXPECT_EQ(profile->moved, 4096u);
    EXPECT_EQ(profile->routes, 2048u);
    ASSERT_EQ(profile->ports.size(), 1u);
    const PortProfile& port = profile->ports[0];
    EXPECT_EQ(port.name, "front0");
    EXPECT_EQ(port.role, "front");
    EXPECT_EQ(port.device, "net_af_xdp0,iface=front0");
    EXPECT_EQ(port.kernel_interface, "front");
    EXPECT_EQ(port.mac, "02:00:00:00:00:01");
    EXPECT_EQ(port.addresses.size(), 2u);
    EXPECT_EQ(port.routes.size(), 1u);
}

TEST_F(ProfileTest, DefaultsAreThoseOfAnAppliance) {
    const auto profile = read(kPort);
    ASSERT_TRUE(profile) << profile.error().message;
    EXPECT_EQ(profile->workers, 1);
    EXPECT_EQ(profile->poll, PollMode::busy);
    EXPECT_TRUE(profile->huge_pages);
}

struct Mistake {
    const char *text, *message;
};

TEST_F(ProfileTest, MistakesNameLineAndRemedy) {
    const Mistake mistakes[] = {
        {"[worker]\ncuont = 1\n", "2: unknown key 'cuont'; known here: cores, count, poll"},
        {"[wroker]\n", "1: unknown key 'wroker'"},
        {"[worker]\ncount = 0\n", "2: 'count' must be a whole number from 1 to 64"},
        {"[worker]\ncount = 65\n", "2: 'count' must be"},
        {"[worker]\ncount = \"1\"\n", "2: 'count' must be"},
        {"[worker]\npoll = \"lazy\"\n", "2: 'poll' must be \"busy\" or \"adaptive\""},
        {"worker = 3\n", "1: 'worker' must be a section [worker]"},
        {"[memory]\nhuge_pages = 1\n", "2: 'huge_pages' must be true or false"},
        {"[memory]\nmegabytes = 1\n", "2: 'megabytes' must be"},
        {"[memory]\nmegabytes = 256\nmegabytes = 512\n", "3: "},
        {"[memory\n", "1: "},
    };
    for (const Mistake& mistake : mistakes) {
        EXPECT_THAT(error_of(std::string(mistake.text) + kPort), HasSubstr(mistake.message)) << mistake.text;
    }
}

TEST_F(ProfileTest, MistakesInPorts) {
    const auto port_with = [](const std::string& from, const std::string& to) {
        std::string text = kPort;
        return text.replace(text.find(from), from.size(), to);
    };
    const std::pair<std::string, const char*> mistakes[] = {
        {"", "1: no port; describe each in a section [[port]]"},
        {"port = []\n", "1: no port"},
        {port_with("\"front\"\n", "\"side\"\n"), "3: 'role' must be \"front\" or \"back\""},
        {port_with("device = \"net_af_xdp0,iface=front0\"\n", ""), "1: 'device' is missing; add it"},
        {port_with("name = \"front0\"", "name = \"\""), "2: 'name' is empty"},
        {port_with("= \"front\"\naddr", "= \"much-too-long-name\"\naddr"),
         "5: 'kernel_interface' must have at most 15"},
        {port_with("192.0.2.1/24", "192.0.2.1/33"), "6: '192.0.2.1/33': the prefix length must be 0 to 32"},
        {port_with("192.0.2.1/24", "192.0.2.300"), "6: '192.0.2.300' is not an IP address"},
        {port_with("default via", "default dev"), "7: 'default dev 192.0.2.254' is not a route"},
        {port_with("default via", "::/0 via"),
         "7: '::/0 via 192.0.2.254': destination and gateway must be of one"},
        {kPort + std::string("mac = \"01:00:00:00:00:01\"\n"), "8: 'mac' must be a unicast MAC address"},
        {kPort + std::string("mac = \"02:00:00:00:00:01:\"\n"), "8: 'mac' must be"},
        {kPort + std::string(kPort), "9: port 'front0' is there twice"},
    };
    for (const auto& [text, message] : mistakes) EXPECT_THAT(error_of(text), HasSubstr(message)) << text;
}

TEST_F(ProfileTest, SaysThatTheFileIsMissing) {
    const auto profile = read_profile("/nonexistent/profile.toml");
    ASSERT_FALSE(profile);
    EXPECT_THAT(profile.error().message, HasSubstr("/nonexistent/profile.toml:1: no such file"));
}

TEST_F(ProfileTest, TooManyPorts) {
    std::string text;
    for (int i = 0; i < 9; ++i) {
        text += fmt::format(
            "[[port]]\nname='p{0}'\nrole='back'\ndevice='net_ring{0}'\nkernel_interface='k{0}'\n", i);
    }
    EXPECT_THAT(error_of(text), HasSubstr("9 ports; 8 are the most"));
}

TEST_F(ProfileTest, ShippedProfilesAreGood) {
    const std::filesystem::path folder = std::filesystem::path(KEYRAIL_SOURCE) / "hw/profiles";
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const auto profile = read_profile(entry.path());
        EXPECT_TRUE(profile) << profile.error().message;
        ++count;
    }
    EXPECT_GE(count, 2);
}

TEST(EalArguments, FollowTheProfile) {
    Profile profile;
    profile.memory_mb = 99;
    profile.ports.push_back({.name = "f", .device = "net_ring0"});
    auto arguments = eal_arguments(profile, "x");
    EXPECT_THAT(arguments, Contains("--no-pci"));
    EXPECT_THAT(arguments, Contains("--in-memory"));
    EXPECT_THAT(arguments, Contains("--file-prefix=x"));
    EXPECT_THAT(arguments, Contains("99"));
    EXPECT_THAT(arguments, Contains(testing::StartsWith("--lcores=(0-1)@(")));
    EXPECT_THAT(arguments, Not(Contains("--no-huge")));

    profile.huge_pages = false;
    profile.cores = "0@0,1@1";
    profile.ports.push_back({.name = "b", .device = "0000:03:00.1,arg=1"});
    arguments = eal_arguments(profile, "x");
    EXPECT_THAT(arguments, Contains("--no-huge"));
    EXPECT_THAT(arguments, Contains("--lcores=0@0,1@1"));
    EXPECT_THAT(arguments, Contains("0000:03:00.1,arg=1"));
    EXPECT_THAT(arguments, Not(Contains("--no-pci")));
}

TEST(EalArguments, TellPciFromVirtual) {
    for (const char* pci : {"0000:03:00.0", "03:00.1", "0000:AF:00.7,x=y"})
        EXPECT_TRUE(is_pci_device(pci)) << pci;
    for (const char* virt : {"net_ring0", "net_af_xdp0,iface=03:00.0", "0000:03:00.8"}) {
        EXPECT_FALSE(is_pci_device(virt)) << virt;
    }
}

TEST(Address, PrefixesContainAndMask) {
    const Prefix prefix = *parse_prefix("10.77.0.1/20");
    EXPECT_EQ(prefix.masked().text(), "10.77.0.0/20");
    EXPECT_TRUE(prefix.contains(*parse_ip("10.77.15.255")));
    EXPECT_FALSE(prefix.contains(*parse_ip("10.77.16.0")));
    EXPECT_FALSE(prefix.contains(*parse_ip("a4d::1")));
    EXPECT_EQ(parse_prefix("2001:db8::ff/127")->masked().text(), "2001:db8::fe/127");
    EXPECT_EQ(parse_prefix("192.0.2.7")->length, 32);
    EXPECT_EQ(parse_prefix("::/0")->masked().text(), "::/0");
    for (const char* bad : {"", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/8 ", "::1/129"})
        EXPECT_FALSE(parse_prefix(bad));
}

TEST(Address, Kinds) {
    EXPECT_TRUE(parse_ip("fe80::1")->is_link_local());
    EXPECT_FALSE(parse_ip("fec0::1")->is_link_local());
    EXPECT_TRUE(parse_ip("169.254.1.1")->is_link_local());
    EXPECT_TRUE(parse_ip("ff02::1")->is_multicast());
    EXPECT_TRUE(parse_ip("239.1.1.1")->is_multicast());
    EXPECT_TRUE(parse_ip("255.255.255.255")->is_multicast());
    EXPECT_FALSE(parse_ip("192.0.2.1")->is_multicast());
    EXPECT_EQ(address_of_bytes(std::string("\x0a\x4d\x00\x01", 4))->text(), "10.77.0.1");
    EXPECT_FALSE(address_of_bytes("12345"));
}

TEST(Address, Routes) {
    const auto route = parse_route("10.0.0.1/8 via 192.0.2.254");
    ASSERT_TRUE(route);
    EXPECT_EQ(route->destination.text(), "10.0.0.0/8");
    EXPECT_EQ(route->gateway.text(), "192.0.2.254");
    EXPECT_EQ(parse_route("default via fe80::1")->destination.text(), "::/0");
}

}  // namespace
}  // namespace keyrail
