// SPDX-License-Identifier: Apache-2.0
// Chassis connections over real loopback sockets: who is let in, and what a peer may not do.
#include "control/protocol/channel.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <future>

#include "tests/support/fake_control.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using chassis::Envelope;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::FakeEnd;
using ::testing::HasSubstr;
using testing::run_until;
using ::testing::SizeIs;
using testing::TestChassis;

std::string text_of(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string frame(std::string_view body) {
    const auto size = htonl(static_cast<uint32_t>(body.size()));
    return std::string(reinterpret_cast<const char*>(&size), sizeof size).append(body);
}

/// A peer that is not ours: plain OpenSSL, on a thread of its own, so that it can be as wrong as the test
/// wants.
struct Stranger {
    std::function<void(SSL_CTX*)> prepare = [](SSL_CTX*) {};
    std::string tls_bytes;    // sent through TLS
    std::string plain_bytes;  // sent instead of TLS
    bool silent = false;      // connects and waits for the other side to close

    void run(uint16_t port) const {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        const timeval patience{6, 0};  // whatever happens, the test ends
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        char sink[1024];
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
            if (!plain_bytes.empty()) (void)!::send(fd, plain_bytes.data(), plain_bytes.size(), MSG_NOSIGNAL);
            if (silent || !plain_bytes.empty())
                while (::recv(fd, sink, sizeof sink, 0) > 0) {
                }
            else
                speak(fd);
        }
        ::close(fd);
    }

  private:
    void speak(int fd) const {
        SSL_CTX* context = SSL_CTX_new(TLS_client_method());
        prepare(context);
        SSL* ssl = SSL_new(context);
        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) == 1) {
            char sink[64];
            if (!tls_bytes.empty()) SSL_write(ssl, tls_bytes.data(), static_cast<int>(tls_bytes.size()));
            ::shutdown(fd, SHUT_WR);
            while (SSL_read(ssl, sink, sizeof sink) > 0) {
            }
        }
        SSL_free(ssl);
        SSL_CTX_free(context);
    }
};

class ChannelTest : public ::testing::Test {
  protected:
    ChannelTest() {
        ::signal(SIGPIPE, SIG_IGN);
        auto opened = Listener::open(
            io.get_executor(), chassis.tls("control"), HostPort{*parse_ip("127.0.0.1"), 0},
            [this](ChannelPtr channel) { return serve(std::move(channel)); },
            [this](const Error& error) { refused.push_back(error.message); });
        listener = *opened;
    }
    ~ChannelTest() override {
        listener->close();
        served.reset();
        run_until(io, [] { return false; }, 20);
    }

    asio::awaitable<void> serve(ChannelPtr channel) {
        served = channel;
        while (reading) {
            const auto message = co_await channel->receive();
            if (!message) {
                ended = message.error().message;
                co_return;
            }
            received.push_back(*message);
        }
    }
    ChannelPtr connect(const TlsContext& tls, Identity expected = Identity::control()) {
        return connect(tls, expected, listener->port());
    }
    /// nullptr, and why in `failure`, when it does not succeed.
    ChannelPtr connect(const TlsContext& tls, Identity expected, uint16_t port) {
        const HostPort to{*parse_ip("127.0.0.1"), port};
        ChannelPtr made;
        bool done = false;
        const auto run = [&]() -> asio::awaitable<void> {
            const auto channel = co_await connect_channel(io.get_executor(), tls, to, expected, 2000ms);
            if (channel)
                made = *channel;
            else
                failure = channel.error().message;
            done = true;
        };
        asio::co_spawn(io, run, asio::detached);
        EXPECT_TRUE(run_until(io, [&] { return done; }));
        return made;
    }
    /// What the channel's own side hears at its end.
    std::string end_of(const ChannelPtr& channel) {
        std::string why;
        asio::co_spawn(
            io,
            [&]() -> asio::awaitable<void> {
                auto message = co_await channel->receive();
                why = message ? "a message" : message.error().message;
            },
            asio::detached);
        EXPECT_TRUE(run_until(io, [&] { return !why.empty(); }));
        return why;
    }
    /// Lets the stranger do its worst; true when our side has come to a conclusion.
    bool meet(const Stranger& stranger, int milliseconds = 5000) {
        const auto finished =
            std::async(std::launch::async, [&, port = listener->port()] { stranger.run(port); });
        const bool concluded =
            run_until(io, [&] { return !refused.empty() || !ended.empty(); }, milliseconds);
        if (served) served->close();
        run_until(io, [&] { return finished.wait_for(0s) == std::future_status::ready; });
        return concluded;
    }
    /// A stranger with a blade's good certificate.
    Stranger insider(const std::string& bytes) {
        Stranger stranger;
        const TlsFiles files = chassis.files("blade-1");
        stranger.prepare = [files](SSL_CTX* context) {
            SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str());
            SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM);
        };
        stranger.tls_bytes = bytes;
        return stranger;
    }
    static Envelope ping(uint64_t request) {
        Envelope message;
        message.set_request(request);
        message.mutable_ping();
        return message;
    }

    asio::io_context io;
    TestChassis chassis{2};
    std::shared_ptr<Listener> listener;
    ChannelPtr served;
    bool reading = true;
    std::vector<Envelope> received;
    std::vector<std::string> refused;
    std::string ended, failure;
};

TEST_F(ChannelTest, BothWays) {
    const ChannelPtr channel = connect(chassis.tls("blade-1"));
    ASSERT_TRUE(channel) << failure;
    EXPECT_EQ(channel->peer(), Identity::control());
    ASSERT_TRUE(run_until(io, [&] { return served != nullptr; }));
    EXPECT_EQ(served->peer(), Identity::of_blade(1));
    EXPECT_THAT(served->name(), HasSubstr("blade 1 at 127.0.0.1:"));
    for (uint64_t i = 1; i <= 100; i++) ASSERT_TRUE(channel->send(ping(i)));
    ASSERT_TRUE(run_until(io, [&] { return received.size() == 100; }));
    EXPECT_EQ(received.back().request(), 100u);
    EXPECT_EQ(received.back().version(), kProtocolVersion);
    channel->close();
    EXPECT_FALSE(channel->send(ping(1)));
    ASSERT_TRUE(run_until(io, [&] { return !ended.empty(); }));
    EXPECT_THAT(ended, HasSubstr("blade 1 at 127.0.0.1:"));
    EXPECT_THAT(ended, HasSubstr("closed the connection"));
    EXPECT_FALSE(served->is_open());
}

TEST_F(ChannelTest, LargeMessagesAndTooLargeOnes) {
    const ChannelPtr channel = connect(chassis.tls("blade-1"));
    ASSERT_TRUE(channel);
    Envelope message;
    message.mutable_transfer()->mutable_record()->set_session_der(std::string(kMaxFrame - 100, 'x'));
    ASSERT_TRUE(channel->send(message));
    ASSERT_TRUE(run_until(io, [&] { return received.size() == 1; }));
    EXPECT_EQ(received[0].transfer().record().session_der().size(), kMaxFrame - 100);
    message.mutable_transfer()->mutable_record()->set_session_der(std::string(kMaxFrame, 'x'));
    EXPECT_THAT(channel->send(message).error().message, HasSubstr("too large to send"));
    EXPECT_TRUE(channel->is_open());
}

TEST_F(ChannelTest, APeerThatDoesNotRead) {
    reading = false;
    const ChannelPtr channel = connect(chassis.tls("blade-1"));
    ASSERT_TRUE(channel);
    Envelope message;
    message.mutable_transfer()->mutable_record()->set_session_der(std::string(100'000, 'x'));
    Result<void> sent;
    do {  // the kernel's buffers take their part first
        for (sent = {}; sent; sent = channel->send(message))
            ASSERT_LE(channel->queued_bytes(), kMaxQueuedBytes);
        run_until(io, [] { return false; }, 50);
    } while (channel->queued_bytes() < kMaxQueuedBytes - 200'000);
    ASSERT_FALSE(sent);
    EXPECT_THAT(sent.error().message, HasSubstr("does not read"));
    EXPECT_TRUE(channel->is_open());
    bool roomy = false;
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
            co_await channel->room();
            roomy = true;
        },
        asio::detached);
    EXPECT_FALSE(run_until(io, [&] { return roomy; }, 100));
    reading = true;
    asio::co_spawn(io, serve(served), asio::detached);
    EXPECT_TRUE(run_until(io, [&] { return roomy; }));
    EXPECT_TRUE(channel->send(message));
}

TEST_F(ChannelTest, FinishSendsWhatIsQueued) {
    const ChannelPtr channel = connect(chassis.tls("blade-1"));
    ASSERT_TRUE(channel);
    for (uint64_t i = 1; i <= 50; i++) ASSERT_TRUE(channel->send(ping(i)));
    channel->finish();
    EXPECT_FALSE(channel->send(ping(51)));
    ASSERT_TRUE(run_until(io, [&] { return !ended.empty(); }));
    EXPECT_THAT(received, SizeIs(50));
}

TEST_F(ChannelTest, GoneWhileReceiving) {
    ChannelPtr channel = connect(chassis.tls("blade-1"));
    ASSERT_TRUE(run_until(io, [&] { return served != nullptr; }));
    served->close();
    EXPECT_THAT(end_of(channel), HasSubstr("control at 127.0.0.1:"));
    channel = connect(chassis.tls("blade-1"));
    channel->close();
    EXPECT_THAT(end_of(channel), HasSubstr("closed here"));
}

// --- who is let in

TEST_F(ChannelTest, WrongIdentity) {
    EXPECT_FALSE(connect(chassis.tls("blade-1"), Identity::of_blade(2)));
    EXPECT_THAT(failure, HasSubstr("is control, expected blade 2"));
}

TEST_F(ChannelTest, AnotherChassis) {
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

TEST_F(ChannelTest, NoCertificate) {
    ASSERT_TRUE(meet({}));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("it showed no certificate")));
    EXPECT_EQ(served, nullptr);
}

TEST_F(ChannelTest, ExpiredCertificate) {
    const auto long_ago = pki::Clock::now() - std::chrono::days(10);
    ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::of_blade(1),
                             {long_ago, long_ago + std::chrono::days(5)}));
    const auto own = TlsContext::load(chassis.files("blade-1"));
    ASSERT_FALSE(own);
    EXPECT_THAT(own.error().message, HasSubstr("blade-1.pem: certificate has expired"));
    ASSERT_TRUE(meet(insider("")));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("certificate is not accepted: certificate has expired")));
}

TEST_F(ChannelTest, OldTls) {
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

TEST_F(ChannelTest, NoCommonVersion) {
    Stranger stranger = insider("");
    offer(stranger, "\x09keyrail/9");
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("no protocol version that both know")));
}

TEST_F(ChannelTest, TheBestVersionThatBothKnow) {
    Stranger stranger = insider(frame(std::string("\x08\x01\x10\x05\x62\x00", 6)));  // a Ping
    offer(stranger, "\x09keyrail/9\x09keyrail/1");
    ASSERT_TRUE(meet(stranger));
    EXPECT_EQ(received.size(), 1u);
}

TEST_F(ChannelTest, NoTicketsAreGivenOut) {
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

TEST_F(ChannelTest, NotTls) {
    Stranger stranger;
    stranger.plain_bytes = "GET / HTTP/1.1\r\n\r\n";
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("TLS failed")));
}

TEST_F(ChannelTest, Silence) {
    Stranger stranger;
    stranger.silent = true;
    ASSERT_TRUE(meet(stranger));
    EXPECT_THAT(refused, ElementsAre(HasSubstr("no TLS handshake in time")));
}

TEST_F(ChannelTest, NobodyThere) {
    listener->close();
    EXPECT_FALSE(connect(chassis.tls("blade-1"), Identity::control(), 1));
    EXPECT_EQ(failure, "control at 127.0.0.1:1: Connection refused");
}

TEST_F(ChannelTest, PortInUse) {
    const auto second = Listener::open(io.get_executor(), chassis.tls("control"),
                                       HostPort{*parse_ip("127.0.0.1"), listener->port()}, {}, {});
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("Address already in use"));
}

// --- what is sent

struct BadBytes {
    const char* what;
    std::string bytes;
    const char* said;
};
class BadFrame : public ChannelTest, public ::testing::WithParamInterface<BadBytes> {};

TEST_P(BadFrame, EndsTheChannel) {
    ASSERT_TRUE(meet(insider(GetParam().bytes)));
    EXPECT_THAT(ended, HasSubstr(GetParam().said));
    EXPECT_THAT(ended, HasSubstr("blade 1 at"));
    EXPECT_TRUE(received.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadFrame,
    ::testing::Values(BadBytes{"Oversized", std::string("\x00\x10\x00\x01", 4),
                               "a message of 1048577 bytes (at most 1048576)"},
                      BadBytes{"Enormous", "\xff\xff\xff\xff", "a message of 4294967295 bytes"},
                      BadBytes{"TruncatedLength", std::string("\0\0", 2), "in the middle of a message"},
                      BadBytes{"TruncatedBody", frame("\x08\x01").substr(0, 5), "in the middle of a message"},
                      BadBytes{"LengthAlone", std::string("\0\0\0\x08", 4), "in the middle of a message"},
                      BadBytes{"Garbage", frame("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
                               "cannot be parsed"},
                      BadBytes{"NestedGarbage", frame("\x08\x01\x2a\x05\xff\xff"), "cannot be parsed"},
                      BadBytes{"Empty", frame(""), "protocol version 0, here 1"},
                      BadBytes{"OtherVersion", frame("\x08\x02"), "protocol version 2, here 1"}),
    [](const auto& instance) { return instance.param.what; });

TEST_F(ChannelTest, AMessageOfANewerPeerIsNoError) {
    ASSERT_TRUE(meet(insider(frame(std::string("\x08\x01\xfa\x06\x01\x00", 6)))));  // field 111
    ASSERT_EQ(received.size(), 1u);
    EXPECT_EQ(received[0].body_case(), Envelope::BODY_NOT_SET);
}

TEST_F(ChannelTest, RandomBytesNeverCrash) {
    std::srand(1);
    for (int round = 0; round < 30; round++) {
        std::string bytes(static_cast<size_t>(std::rand() % 200), '\0');
        for (char& byte : bytes) byte = static_cast<char>(std::rand());
        ended.clear();
        ASSERT_TRUE(meet(insider(round % 2 == 0 ? frame(bytes) : bytes + "x"))) << round;
    }
}

// --- files

TEST_F(ChannelTest, FilesThatDoNotFit) {
    const auto error = [](const TlsFiles& files) {
        const auto context = TlsContext::load(files);
        return context ? std::string() : context.error().message;
    };
    const TlsFiles one = chassis.files("blade-1"), two = chassis.files("blade-2");
    EXPECT_EQ(error(one), "");
    EXPECT_THAT(error({one.ca, one.certificate, two.key}), HasSubstr("not the private key of"));
    EXPECT_THAT(error({one.ca, one.key, one.key}), HasSubstr("no certificate in PEM form"));
    EXPECT_THAT(error({one.ca, one.certificate, "/absent"}), HasSubstr("/absent: No such file"));
    const TestChassis other(1);
    EXPECT_THAT(error({other.files("blade-1").ca, one.certificate, one.key}), HasSubstr("blade-1.pem: "));
    fs::permissions(one.key, fs::perms::owner_read | fs::perms::group_read);
    EXPECT_THAT(error(one), HasSubstr("run: chmod 600"));
}

TEST_F(ChannelTest, ACaIsNeverOverwritten) {
    const std::string before = text_of(chassis.files("control").ca);
    const auto again = pki::init_chassis(chassis.directory() / "pki", "again");
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().message, HasSubstr("there already"));
    EXPECT_EQ(text_of(chassis.files("control").ca), before);
    EXPECT_FALSE(pki::certify(chassis.directory(), Identity::of_blade(1)));  // no CA there
}

}  // namespace
}  // namespace keyrail
