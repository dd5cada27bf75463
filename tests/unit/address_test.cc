// SPDX-License-Identifier: Apache-2.0
// Texts of the protocol: addresses, identities, durations.
#include "dataplane/common/address.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "control/protocol/identity.h"

namespace keyrail {
namespace {

TEST(AddressTest, BothFamilies) {
    EXPECT_EQ(parse_ip("192.0.2.1")->bytes, (std::array<uint8_t, 16>{192, 0, 2, 1}));
    EXPECT_EQ(parse_ip("2001:db8:0:0::1")->text(), "2001:db8::1");
    EXPECT_EQ(parse_host_port("192.0.2.1:7400")->text(), "192.0.2.1:7400");
    EXPECT_EQ(parse_host_port("[fd77::1]:7400")->text(), "[fd77::1]:7400");
    EXPECT_EQ(parse_ip("2001:db8::1")->raw().size(), 16u);
    EXPECT_EQ(IpAddress{}.text(), "(no address)");
    EXPECT_FALSE(parse_ip(std::string_view("192.0.2.1\0", 10)));
    for (const char* wrong : {"", "192.0.2", "192.0.2.256", "host", "fd77::g", "1.2.3.4 "})
        EXPECT_FALSE(parse_ip(wrong));
    for (const char* wrong : {"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:65536",
                              "fd77::1:7400", "[192.0.2.1]:7400", "[]:1", "[fd77::1]", "192.0.2.1:-1"})
        EXPECT_FALSE(parse_host_port(wrong)) << wrong;
}

TEST(AddressTest, MappedIntoIpv6AndBack) {
    const IpAddress v4 = *parse_ip("192.0.2.1"), v6 = *parse_ip("2001:db8::1");
    EXPECT_EQ((IpAddress{AF_INET6, v4.mapped()}), *parse_ip("::ffff:192.0.2.1"));
    EXPECT_EQ((IpAddress{AF_INET6, v4.mapped()}.unmapped()), v4);
    EXPECT_EQ(v6.mapped(), v6.bytes);
    EXPECT_EQ(v6.unmapped(), v6);
    EXPECT_TRUE(parse_ip("0.0.0.0")->is_any() && parse_ip("::")->is_any());
    EXPECT_FALSE(v4.is_any() || v6.is_any());
}

TEST(IdentityTest, OneForm) {
    EXPECT_EQ(*Identity::from_uri("keyrail:control"), Identity::control());
    EXPECT_EQ(*Identity::from_uri("keyrail:blade:4095"), Identity::of_blade(4095));
    EXPECT_EQ(Identity::of_blade(7).uri(), "keyrail:blade:7");
    for (const char* wrong :
         {"", "keyrail:", "keyrail:blade:", "keyrail:blade:0", "keyrail:blade:4096", "keyrail:blade:01",
          "keyrail:blade:1x", "keyrail:blade:-1", "keyrail:control2", "https://example.org"})
        EXPECT_FALSE(Identity::from_uri(wrong)) << wrong;
    EXPECT_FALSE(Identity::from_uri(std::string_view("keyrail:control\0", 16)));
}

}  // namespace
}  // namespace keyrail
