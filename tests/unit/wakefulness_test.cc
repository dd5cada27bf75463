// SPDX-License-Identifier: Apache-2.0
// When the kernel is asked for awake cores, with what, and when it is told to forget it. A FIFO takes the
// device's place: its reader sees what is written, and when nobody has it open any more.
#include "control/protocol/wakefulness.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <asio/io_context.hpp>
#include <cerrno>
#include <optional>
#include <sstream>

#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using ::testing::HasSubstr;

class WakefulnessTest : public ::testing::Test {
  protected:
    WakefulnessTest() {
        EXPECT_EQ(::mkfifo(device().c_str(), 0600), 0);
        reader_ = ::open(device().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        EXPECT_GE(reader_, 0);
    }
    ~WakefulnessTest() override { ::close(reader_); }
    [[nodiscard]] std::string device() const { return directory_.path() / "cpu_dma_latency"; }
    /// What was written since the last time; nullopt: nothing, and nobody has it open.
    std::optional<std::string> written() const {
        std::array<char, 64> buffer{};
        const ssize_t size = ::read(reader_, buffer.data(), buffer.size());
        if (size == 0) return std::nullopt;
        EXPECT_TRUE(size > 0 || errno == EAGAIN);
        return std::string(buffer.data(), size > 0 ? static_cast<size_t>(size) : 0);
    }
    /// A move, and what follows from it at once.
    void move(Wakefulness& wakefulness) {
        wakefulness.needed();
        io.restart();
        io.poll();
    }
    /// Until it waits for nothing any more.
    void run() {
        io.restart();
        io.run();
    }

    testing::TempDirectory directory_;
    int reader_ = -1;
    asio::io_context io{1};
    const std::string zero = std::string(4, '\0');  // a 32-bit 0
};

TEST_F(WakefulnessTest, AsksOnceForManyMovesAndLetsGo) {
    Wakefulness wakefulness(io, milliseconds(100), device());
    EXPECT_EQ(written(), std::nullopt) << "not before the first move";
    const auto begin = Clock::now();
    wakefulness.needed();
    EXPECT_EQ(written(), std::nullopt) << "what the move sends goes first";
    for (int i = 0; i < 1000; i++) move(wakefulness);
    EXPECT_EQ(written(), zero);
    EXPECT_TRUE(wakefulness.awake());
    run();
    EXPECT_GE(Clock::now() - begin, milliseconds(100));
    EXPECT_EQ(written(), std::nullopt);
    EXPECT_FALSE(wakefulness.awake());
    move(wakefulness);
    EXPECT_EQ(written(), zero) << "the next move asks again";
}

/// The wait that the first move began is over, but there was a second one.
TEST_F(WakefulnessTest, EveryMoveCounts) {
    Wakefulness wakefulness(io, milliseconds(200), device());
    move(wakefulness);
    for (const auto begin = Clock::now(); Clock::now() - begin < milliseconds(200);) {
    }
    const auto second = Clock::now();
    wakefulness.needed();
    io.restart();
    EXPECT_EQ(io.run_one(), 1U);
    EXPECT_TRUE(wakefulness.awake());
    run();
    EXPECT_FALSE(wakefulness.awake());
    EXPECT_GE(Clock::now() - second, milliseconds(200));
    EXPECT_EQ(written(), zero);
    EXPECT_EQ(written(), std::nullopt);
}

TEST_F(WakefulnessTest, ZeroIsNever) {
    Wakefulness wakefulness(io, microseconds(0), device());
    wakefulness.needed();
    EXPECT_EQ(written(), std::nullopt);
    EXPECT_EQ(io.run(), 0U) << "nor is there anything to wait for";
}

TEST_F(WakefulnessTest, AnotherTimeHoldsAtOnce) {
    Wakefulness wakefulness(io, kMaxStayAwake, device());
    move(wakefulness);
    EXPECT_TRUE(wakefulness.awake());
    wakefulness.configure(milliseconds(1));
    run();
    EXPECT_FALSE(wakefulness.awake());
    wakefulness.configure(kMaxStayAwake);
    move(wakefulness);
    EXPECT_TRUE(wakefulness.awake());
    wakefulness.configure(microseconds(0));
    EXPECT_FALSE(wakefulness.awake());
    move(wakefulness);
    EXPECT_FALSE(wakefulness.awake());
}

/// Between the move and what follows from it.
TEST_F(WakefulnessTest, ToldOtherwiseBeforeItAsks) {
    Wakefulness wakefulness(io, kMaxStayAwake, device());
    wakefulness.needed();
    wakefulness.configure(microseconds(0));
    io.poll();
    EXPECT_EQ(written(), std::nullopt);
    wakefulness.configure(kStayAwake);
    wakefulness.needed();
    wakefulness.configure(microseconds(0));
    wakefulness.configure(kMaxStayAwake);
    move(wakefulness);
    EXPECT_EQ(written(), zero) << "once";
    wakefulness.configure(microseconds(0));
    EXPECT_EQ(written(), std::nullopt) << "and it is let go";
}

TEST_F(WakefulnessTest, LetsGoWhenItEnds) {
    {
        Wakefulness wakefulness(io, kMaxStayAwake, device()), another(io, kMaxStayAwake, device());
        move(wakefulness);
        EXPECT_EQ(written(), zero);
        another.needed();
    }
    EXPECT_EQ(written(), std::nullopt);
    run();
    EXPECT_EQ(written(), std::nullopt) << "who is no more asks for nothing";
}

/// What is logged meanwhile.
class Log {
  public:
    Log() { spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_)); }
    ~Log() { spdlog::set_default_logger(before_); }
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    [[nodiscard]] std::string text() const { return text_.str(); }

  private:
    std::ostringstream text_;
    std::shared_ptr<spdlog::sinks::sink> sink_ = std::make_shared<spdlog::sinks::ostream_sink_st>(text_);
    std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
};

/// A container without the device, and a kernel that does not take what is written.
TEST_F(WakefulnessTest, DoesWithoutAndSaysSoOnce) {
    for (const auto& [path, reason] : {std::pair{"/dev/shm/keyrail-no-such-device", "No such file"},
                                       std::pair{"/dev/full", "No space left"}}) {
        const Log log;
        Wakefulness wakefulness(io, milliseconds(20), path);
        for (int i = 0; i < 3; i++) {
            move(wakefulness);
            EXPECT_FALSE(wakefulness.awake());
            run();
        }
        const std::string text = log.text();
        EXPECT_THAT(text, HasSubstr(path));
        EXPECT_THAT(text, HasSubstr(reason));
        EXPECT_EQ(text.find("stay_awake"), text.rfind("stay_awake")) << text;
    }
}

}  // namespace
}  // namespace keyrail
