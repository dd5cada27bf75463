// SPDX-License-Identifier: Apache-2.0
// Who has no certificate yet: how far a stranger gets, whom it believes, and what the CA signs for it.
#include <gmock/gmock.h>
#include <openssl/rsa.h>

#include "control/pki/ca.h"
#include "control/protocol/channel.h"
#include "control/protocol/openssl_ptr.h"
#include "tests/support/fake_control.h"

namespace keyrail {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::run_until;
using testing::TestChassis;

class Certificates : public ::testing::Test {
  protected:
    void listen(Strangers strangers, const std::string& as = "control") {
        const HostPort at{*parse_ip("127.0.0.1"), 0};
        auto opened = Listener::open(
            io.get_executor(), chassis.tls(as), at,
            [this](ChannelPtr channel) -> asio::awaitable<void> {
                met = channel->peer();
                certificate = channel->peer_certificate();
                co_return;
            },
            [this](const Error& error) { refused = error.message; }, strangers);
        ASSERT_TRUE(opened);
        listener = *opened;
    }
    /// Why it did not work, or what the first receive() says.
    std::string connect(const TlsContext& tls) {
        std::string end;
        const auto run = [&]() -> asio::awaitable<void> {
            const HostPort to{*parse_ip("127.0.0.1"), listener->port()};
            auto channel = co_await connect_channel(io.get_executor(), tls, to, Identity::control(), 2000ms);
            if (!channel) {
                end = channel.error().message;
                co_return;
            }
            const auto message = co_await (*channel)->receive();
            end = message ? "a message" : message.error().message;
        };
        asio::co_spawn(io, run, asio::detached);
        EXPECT_TRUE(run_until(io, [&] { return !end.empty() && (met || !refused.empty()); }));
        return end;
    }
    [[nodiscard]] Fingerprint ca() const { return *pki::fingerprint_of_file(chassis.files("control").ca); }
    [[nodiscard]] pki::CaFiles authority() const {
        return {chassis.files("control").ca, chassis.directory() / "pki/ca.key"};
    }
    [[nodiscard]] Result<pki::Issued> issue(std::string_view request) const {
        return pki::certify_request(authority(), request, Identity::of_blade(3),
                                    pki::Validity::from_now(pki::kRenewedLifetime));
    }

    asio::io_context io;
    TestChassis chassis{1};
    std::shared_ptr<Listener> listener;
    std::optional<Identity> met;
    CertificateInfo certificate;
    std::string refused;
};

TEST_F(Certificates, AStrangerIsOneOnlyWhereItIsAdmitted) {
    listen(Strangers::admitted);
    EXPECT_THAT(connect(*TlsContext::pinned(ca())), HasSubstr("closed the connection"));
    ASSERT_TRUE(met);
    EXPECT_TRUE(met->is_stranger());
    EXPECT_EQ(certificate.serial, "");
}

TEST_F(Certificates, ElsewhereItIsNotLetIn) {
    listen(Strangers::refused);
    EXPECT_THAT(connect(*TlsContext::pinned(ca())), HasSubstr("refused us"));
    EXPECT_FALSE(met);
    EXPECT_THAT(refused, HasSubstr("it showed no certificate"));
}

TEST_F(Certificates, ABladeIsABladeWhereStrangersAreAdmitted) {
    listen(Strangers::admitted);
    const TlsContext blade = chassis.tls("blade-1");
    connect(blade);
    ASSERT_TRUE(met);
    EXPECT_EQ(*met, Identity::of_blade(1));
    EXPECT_EQ(certificate.serial, blade.certificate().serial);
    EXPECT_EQ(certificate.until, blade.certificate().until);
}

TEST_F(Certificates, AForeignBladeIsNoStranger) {
    listen(Strangers::admitted);
    const TestChassis other(1);
    EXPECT_THAT(connect(other.tls("blade-1")), HasSubstr("certificate"));
    EXPECT_FALSE(met);
}

TEST_F(Certificates, AStrangerBelievesOnlyTheCaThatItWasToldOf) {
    listen(Strangers::admitted);
    const TestChassis other(0);
    const auto theirs = pki::fingerprint_of_file(other.files("control").ca);
    EXPECT_THAT(connect(*TlsContext::pinned(*theirs)), HasSubstr("not accepted"));
    EXPECT_FALSE(met);
}

TEST_F(Certificates, NorABladeThatPosesAsControl) {
    listen(Strangers::admitted, "blade-1");
    EXPECT_THAT(connect(*TlsContext::pinned(ca())), HasSubstr("is blade 1, expected control"));
}

TEST_F(Certificates, ARequestMakesACertificateThatFits) {
    const auto key = chassis.directory() / "pki/blade-3.key", file = chassis.directory() / "pki/blade-3.pem";
    const auto request = pki::make_request(key);
    ASSERT_TRUE(request) << request.error().message;
    const auto issued = issue(*request);
    ASSERT_TRUE(issued) << issued.error().message;
    ASSERT_TRUE(pki::write_certificate(file, issued->certificate));
    const auto tls = TlsContext::load({authority().certificate, file, key});
    ASSERT_TRUE(tls) << tls.error().message;
    EXPECT_EQ(tls->self(), Identity::of_blade(3));
    EXPECT_EQ(tls->certificate().serial, issued->info.serial);

    const auto again = issue(*pki::make_request(key));  // the same key, another certificate
    ASSERT_TRUE(again);
    ASSERT_TRUE(pki::write_certificate(file, again->certificate));
    TlsContext copy = *tls;
    ASSERT_TRUE(copy.reload({authority().certificate, file, key}));
    EXPECT_EQ(tls->certificate().serial, again->info.serial);  // one context
    EXPECT_NE(again->info.serial, issued->info.serial);
}

TEST_F(Certificates, WhatIsNoGoodRequestIsRefused) {
    const auto request = *pki::make_request(chassis.directory() / "key");
    for (size_t i = 0; i < request.size(); i += 5) {
        std::string damaged = request;
        damaged[i] = static_cast<char>(damaged[i] ^ 1);
        const auto issued = issue(damaged);
        EXPECT_FALSE(issued) << i;
    }
    EXPECT_FALSE(issue(request + "x"));
    EXPECT_FALSE(issue(request.substr(0, 40)));
    EXPECT_FALSE(issue(""));
    const KeyPtr rsa(EVP_RSA_gen(2048));
    const RequestPtr other(X509_REQ_new());
    X509_REQ_set_pubkey(other.get(), rsa.get());
    X509_REQ_sign(other.get(), rsa.get(), EVP_sha256());
    unsigned char* der = nullptr;
    const int size = i2d_X509_REQ(other.get(), &der);
    const auto issued = issue({reinterpret_cast<char*>(der), static_cast<size_t>(size)});
    OPENSSL_free(der);
    ASSERT_FALSE(issued);
    EXPECT_THAT(issued.error().message, HasSubstr("P-256"));
}

TEST_F(Certificates, WithoutTheCasKeyNothingIsSigned) {
    std::filesystem::remove(authority().key);
    const auto issued = issue(*pki::make_request(chassis.directory() / "key"));
    ASSERT_FALSE(issued);
    EXPECT_THAT(issued.error().message, HasSubstr("bring ca.pem and ca.key here"));
}

}  // namespace
}  // namespace keyrail
