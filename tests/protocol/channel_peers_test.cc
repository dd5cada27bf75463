// SPDX-License-Identifier: Apache-2.0
// Chassis connections: who is let in.
#include "tests/support/channel_test.h"

namespace keyrail {
namespace {

class ChannelPeers : public testing::ChannelBench {};

TEST_F(ChannelPeers, WrongIdentity) {
    EXPECT_FALSE(connect(chassis.tls("blade-1"), Identity::of_blade(2)));
    EXPECT_THAT(failure, HasSubstr("is control, expected blade 2"));
}

TEST_F(ChannelPeers, AnotherChassis) {
    const TestChassis other(1);
    EXPECT_FALSE(connect(other.tls("blade-1")));
    EXPECT_THAT(failure, HasSubstr("certificate is not accepted"));
    ASSERT_TRUE(run_until(io, [&] { return !refused.empty(); }));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("it refused us")));
    // One that does not care who we are is turned away by us.
    Stranger stranger = insider("");
    const TlsFiles files = other.files("blade-1");
    stranger.prepare = [files](SSL_CTX* context) {
        SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str());
        SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
    };
    refused.clear();
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("certificate is not accepted: ")));
    EXPECT_EQ(served, nullptr);
}

TEST_F(ChannelPeers, NoCertificate) {
    ASSERT_TRUE(meet({}));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("it showed no certificate")));
    EXPECT_EQ(served, nullptr);
}

TEST_F(ChannelPeers, ExpiredCertificate) {
    const auto long_ago = pki::Clock::now() - std::chrono::days(10);
    ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::of_blade(1),
                             {long_ago, long_ago + std::chrono::days(5)}));
    const auto own = TlsContext::load(chassis.files("blade-1"));
    ASSERT_FALSE(own);
    EXPECT_THAT(own.error().message, HasSubstr("blade-1.pem: certificate has expired"));
    ASSERT_TRUE(meet(insider("")));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("certificate is not accepted: certificate has expired")));
}

TEST_F(ChannelPeers, OldTls) {
    Stranger stranger = insider("");
    stranger.prepare = [credentials = stranger.prepare](SSL_CTX* context) {
        credentials(context);
        SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    };
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("unsupported protocol")));
}

/// A peer of another release: these are the versions that it speaks (ALPN, RFC 7301).
void offer(Stranger& stranger, const std::string& versions) {
    stranger.prepare = [credentials = stranger.prepare, versions](SSL_CTX* context) {
        credentials(context);
        SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(versions.data()),
                                static_cast<unsigned>(versions.size()));
    };
}

TEST_F(ChannelPeers, NoCommonVersion) {
    Stranger stranger = insider("");
    offer(stranger, "\x09keyrail/9");
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("no protocol version that both know")));
}

TEST_F(ChannelPeers, TheBestVersionThatBothKnow) {
    Stranger stranger = insider(frame(std::string("\x08\x01\x10\x05\x62\x00", 6)));  // a Ping
    offer(stranger, "\x09keyrail/9\x09keyrail/1");
    ASSERT_TRUE(meet(stranger));
    EXPECT_EQ(received.size(), 1u);
}

TEST_F(ChannelPeers, NoTicketsAreGivenOut) {
    Stranger stranger = insider(frame("\x08\x01"));
    static int tickets;
    tickets = 0;
    stranger.prepare = [credentials = stranger.prepare](SSL_CTX* context) {
        credentials(context);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(context, [](SSL*, SSL_SESSION*) { return ++tickets, 0; });
    };
    ASSERT_TRUE(meet(stranger));
    EXPECT_EQ(received.size(), 1u);
    EXPECT_EQ(tickets, 0);
}

TEST_F(ChannelPeers, NotTls) {
    Stranger stranger;
    stranger.plain_bytes = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("TLS failed")));
}

TEST_F(ChannelPeers, Silence) {
    Stranger stranger;
    stranger.silent = true;
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("no TLS handshake in time")));
}

TEST_F(ChannelPeers, NobodyThere) {
    listener->close();
    EXPECT_FALSE(connect(chassis.tls("blade-1"), Identity::control(), 1));
    EXPECT_EQ(failure, "control at 127.0.0.1:1: Connection refused");
}

TEST_F(ChannelPeers, PortInUse) {
    const auto second = Listener::open(io.get_executor(), chassis.tls("control"),
                                       HostPort{*parse_ip("127.0.0.1"), listener->port()}, {}, {});
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace keyrail
