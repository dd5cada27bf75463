// SPDX-License-Identifier: Apache-2.0
// The agent's probe: the packets that it makes up, and what it makes of their fate.
#include "control/agent/accept_probe.h"

#include <gtest/gtest.h>

#include "dataplane/cookie/syn_cookie.h"

namespace keyrail {
namespace {

using Outcome = AcceptProbe::Outcome;

HostPort at(const char* text) { return *parse_host_port(text); }

class ProbeFrames : public testing::TestWithParam<bool> {  // IPv6
  protected:
    ProbeClient client{at(GetParam() ? "[fd77::1]:40000" : "10.77.0.1:40000"),
                       at(GetParam() ? "[2001:db8::1]:443" : "198.51.100.1:443"),
                       0xffffffff,
                       1,
                       {7, 8},
                       123'456'789,
                       {2, 0, 0, 0, 0, 9}};
};
INSTANTIATE_TEST_SUITE_P(Families, ProbeFrames, testing::Values(false, true));

TEST_P(ProbeFrames, CarryACookieAsTheDispatcherMakesThem) {
    const auto frame = probe_frame(client, false);
    const Headers h = parse_headers(frame);
    EXPECT_EQ(h.layout, Layout::tcp);
    EXPECT_EQ(h.ipv6, GetParam());
    EXPECT_EQ(h.flags, kAck);
    EXPECT_EQ(h.payload_size, 0);
    EXPECT_EQ(h.tuple.source, client.from.address.mapped());
    EXPECT_EQ(h.tuple.destination, client.to.address.mapped());
    EXPECT_EQ(h.tuple.destination_port, 443);
    const std::array<kr_cookie_key, 2> keys{kr_cookie_key{}, client.key}, others{kr_cookie_key{}, {7, 9}};
    EXPECT_TRUE(carries_cookie(frame, h, Seq(client.isn), keys, client.tai_ms));
    EXPECT_FALSE(carries_cookie(frame, h, Seq(client.isn), others, client.tai_ms));
    EXPECT_TRUE(Acknowledgement(frame, h).has_timestamp());
}

TEST_P(ProbeFrames, EndByTheSameNumbers) {
    const Headers first = parse_headers(probe_frame(client, false));
    const Headers end = parse_headers(probe_frame(client, true));
    EXPECT_EQ(end.flags, kRst);
    EXPECT_EQ(end.seq, first.seq);
}

TEST(ProbeResults, TwoInARowAreAProblemAndOneThatArrivesEndsIt) {
    const HostPort server = at("198.51.100.1:443");
    ProbeResults results;
    EXPECT_FALSE(results.known(server));
    results.saw(server, Outcome::lost);
    EXPECT_FALSE(results.problem());
    EXPECT_EQ(results.doubtful(), std::vector{server});
    results.saw(server, Outcome::unknown);
    EXPECT_FALSE(results.problem()) << "says nothing";
    results.saw(server, Outcome::lost);
    ASSERT_TRUE(results.problem());
    EXPECT_NE(results.problem()->find("198.51.100.1:443"), std::string::npos);
    results.saw(server, Outcome::reached);
    EXPECT_FALSE(results.problem());
    EXPECT_TRUE(results.doubtful().empty());
}

TEST(ProbeResults, OfServersThatAreAwayNothingIsSaid) {
    const HostPort one = at("198.51.100.1:443"), other = at("198.51.100.2:443");
    ProbeResults results;
    for (int i = 0; i < 2; i++) results.saw(one, Outcome::lost);
    results.saw(other, Outcome::reached);
    results.keep({other});
    EXPECT_FALSE(results.problem());
    EXPECT_FALSE(results.known(one));
    EXPECT_TRUE(results.known(other));
}

}  // namespace
}  // namespace keyrail
