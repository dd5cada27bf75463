// SPDX-License-Identifier: Apache-2.0
// Chassis connections over real loopback sockets: what is sent, and what a peer may not do.
#include "tests/support/channel_test.h"

namespace keyrail {
namespace {

class ChannelTest : public testing::ChannelBench {};

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
