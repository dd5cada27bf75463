// SPDX-License-Identifier: Apache-2.0
// Moves between real processes: every one of them is killed at every step of a move, a blade is drained
// across a restart of keyraild, sessions are purged. The test plays the dataplane and the TLS servers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/store/pull.h"
#include "dataplane/common/hex.h"
#include "tests/support/proxy.h"
#include "tests/support/real_chassis.h"

namespace keyrail::testing {
namespace {

/// The real `keyrail`, while the dataplane goes on answering.
nlohmann::json keyrail(RealChassis& chassis, std::vector<std::string> words, int expected = 0) {
    words.insert(words.begin(), {std::getenv("KR_KEYRAIL"), "--json", "--socket", chassis.socket().string()});
    const auto file = chassis.files.directory() / "answer";
    std::filesystem::remove(file);
    Process command(words, file);
    EXPECT_TRUE(chassis.until([&] { return command.ended(); }, 20'000));
    EXPECT_EQ(command.wait(), expected) << command.log();
    return nlohmann::json::parse(command.log(), nullptr, false);
}

bool answered(RealChassis& chassis, uint64_t move) {
    for (const auto& message : chassis.dataplane->of(link::ToDataplane::kMoveOutcome))
        if (message.move_outcome().move_id() == move) return true;
    return false;
}

using Clock = std::chrono::steady_clock;

// --- the kill matrix

enum class Victim { holder, target, keyraild };
struct Step {
    const char* name;
    size_t wire;  // 0: keyraild and holder, 1: keyraild and target, 2: holder and target
    Proxy::Direction direction;
};
constexpr std::array kSteps = {
    Step{"order", 0, Proxy::Direction::back}, Step{"transfer", 2, Proxy::Direction::there},
    Step{"answer", 2, Proxy::Direction::back}, Step{"done", 1, Proxy::Direction::there}};

class KillMatrixTest : public ::testing::Test {
  protected:
    KillMatrixTest() {
        chassis.peer_port[2] = free_port();
        for (const BladeId id : blade_ids(2)) chassis.set_control(id, free_port());
        proxies.emplace_back(chassis.reach_control.at(1), chassis.control_port);
        proxies.emplace_back(chassis.reach_control.at(2), chassis.control_port);
        proxies.emplace_back(chassis.peer_port[2], chassis.agent_port[2]);
        chassis.between = [this] {
            for (Proxy& proxy : proxies) proxy.poll();
        };
        chassis.start_all();
    }
    void kill(Victim victim) {
        auto& process = victim == Victim::keyraild
                            ? chassis.daemon
                            : chassis.agents[victim == Victim::holder ? BladeId{1} : BladeId{2}];
        process->signal(SIGKILL);
        (void)process->wait();
    }
    void restart(Victim victim) {
        if (victim == Victim::keyraild)
            chassis.start_daemon();
        else
            chassis.start_agent(victim == Victim::holder ? BladeId{1} : BladeId{2});
    }
    [[nodiscard]] int holders(const SessionName& name) {
        return chassis.stores.at(1).contains(name) + chassis.stores.at(2).contains(name);
    }
    /// Moves a session, asking again while the connections are not back, with another one when one got lost.
    bool moves_again() {
        SessionName name{};
        uint64_t move = 0;
        auto asked = Clock::now();
        return chassis.until([&] {
            EXPECT_LE(holders(name), 1);
            if (chassis.stores.at(2).contains(name)) return true;
            if (move != 0 && !answered(chassis, move) &&
                Clock::now() - asked < std::chrono::milliseconds(300))
                return false;
            if (holders(name) == 0) name = chassis.put(1, ++number);
            chassis.request_move(move = ++moves, name, 1, 2, 20'000);
            asked = Clock::now();
            return false;
        });
    }
    void kill_at(const Step& step, Victim victim, bool passes) {
        const SessionName name = chassis.put(1, ++number);
        bool killed = false;
        proxies_at(step.wire).watch(step.direction, [&] {
            kill(victim);
            killed = true;
            return passes;
        });
        chassis.request_move(++moves, name, 1, 2);
        ASSERT_TRUE(chassis.until([&] { return killed; }));
        EXPECT_LE(holders(name), 1);
        restart(victim);
        ASSERT_TRUE(moves_again()) << chassis.logs();
        EXPECT_LE(holders(name), 1);
    }
    Proxy& proxies_at(size_t wire) { return *std::next(proxies.begin(), static_cast<ptrdiff_t>(wire)); }

    RealChassis chassis{2};
    std::list<Proxy> proxies;
    uint64_t number = 0, moves = 0;
};

TEST_F(KillMatrixTest, NeverTwoHoldersAndItGoesOn) {
    ASSERT_TRUE(moves_again()) << chassis.logs();
    bool passes = false;  // KR_KILLS=all: each with the message arriving, and without
    const int rounds = std::getenv("KR_KILLS") ? 2 : 1;
    for (int round = 0; round < rounds; round++, passes = !passes)
        for (const Step& step : kSteps)
            for (const Victim victim : {Victim::holder, Victim::target, Victim::keyraild}) {
                passes = !passes;
                SCOPED_TRACE(fmt::format("{}, victim {}, {}", step.name, static_cast<int>(victim),
                                         passes ? "arrives" : "is lost"));
                ASSERT_NO_FATAL_FAILURE(kill_at(step, victim, passes));
            }
}

// --- drain, pull, purge

class ChassisTest : public ::testing::Test {
  protected:
    ChassisTest() { chassis.start_all(); }
    [[nodiscard]] uint64_t sessions(BladeId blade) { return chassis.stores.at(blade).stats().sessions; }
    RealChassis chassis{3};
};

TEST_F(ChassisTest, MovesEverySessionAcrossARestart) {
    constexpr uint64_t kSessions = 3000;
    for (uint64_t i = 0; i < kSessions; i++) chassis.put(1, i);
    const auto started = keyrail(chassis, {"blade", "drain", "1", "--rate", "4000/s"});
    EXPECT_EQ(started["drain"]["rate"], 4000);
    ASSERT_TRUE(chassis.until([&] { return sessions(1) < kSessions * 2 / 3; }));
    chassis.daemon->signal(SIGKILL);
    (void)chassis.daemon->wait();
    chassis.start_daemon();
    ASSERT_TRUE(chassis.until([&] { return sessions(1) == 0; })) << chassis.logs();
    const auto done = keyrail(chassis, {"blade", "drain", "1", "--wait"});
    EXPECT_EQ(done["drain"]["empty"], true);
    EXPECT_EQ(done["drain"]["rate"], 4000) << "kept across the restart";
    EXPECT_EQ(sessions(2) + sessions(3), kSessions) << "some were lost";
    EXPECT_GT(sessions(2), kSessions / 4);
    EXPECT_GT(sessions(3), kSessions / 4);
    const auto where = keyrail(chassis, {"session", "where", to_hex(bytes_of(chassis.name(1, 7)))});
    EXPECT_EQ(where["held"], true);
    EXPECT_NE(where["holder"], 1);
}

/// As libkeyrail-tls.so does it when its store has no such session: the agent's answer.
uint32_t pull(RealChassis& chassis, BladeId blade, const SessionName& name) {
    std::array<uint8_t, 16> number{};
    chassis.stores.at(blade).control().read(
        [&](const StoreControl& control) { number = control.pull_socket; });
    const PullAddress address(number);
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(fd, address.get(), address.size), 0);
    PullRequest request;
    request.tls_version = TlsVersion::tls13;
    request.name = name;
    EXPECT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
    PullReply reply;
    EXPECT_TRUE(chassis.until([&] {
        return ::recv(fd, &reply, sizeof reply, MSG_DONTWAIT) == static_cast<ssize_t>(sizeof reply);
    }));
    ::close(fd);
    return reply.result;
}

TEST_F(ChassisTest, AServerPullsWhatItMisses) {
    const SessionName name = chassis.put(1, 5);
    EXPECT_EQ(pull(chassis, 2, name), PullReply::kLookAgain);
    EXPECT_TRUE(chassis.stores.at(2).contains(name)) << "it is there when the server looks again";
    EXPECT_FALSE(chassis.stores.at(1).contains(name));
    EXPECT_EQ(keyrail(chassis, {"session", "where", to_hex(bytes_of(name))})["holder"], 2);
    EXPECT_EQ(pull(chassis, 3, name), PullReply::kLookAgain) << "and from where it is now";
    EXPECT_NE(pull(chassis, 2, chassis.name(1, 6)), PullReply::kLookAgain) << "nobody has it";
    EXPECT_NE(pull(chassis, 2, SessionName{}), PullReply::kLookAgain) << "not a name of ours";
    chassis.daemon->signal(SIGKILL);
    (void)chassis.daemon->wait();
    ASSERT_TRUE(chassis.until([&] { return pull(chassis, 2, name) != PullReply::kLookAgain; }));
}

constexpr const char* kLatencyDevice = "/dev/cpu_dma_latency";

/// Does it have the kernel keep cores awake?
bool keeps_awake(const Process& process) {
    std::error_code closed;
    for (const auto& fd : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process.pid())))
        if (std::filesystem::read_symlink(fd, closed) == kLatencyDevice) return true;
    return false;
}

class StayAwakeTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const int fd = ::open(kLatencyDevice, O_WRONLY | O_CLOEXEC);
        if (fd < 0) GTEST_SKIP() << kLatencyDevice << ": " << std::strerror(errno);
        ::close(fd);
    }
    /// keyraild, then the agents.
    static std::vector<bool> awake(const RealChassis& chassis) {
        std::vector<bool> all{keeps_awake(*chassis.daemon)};
        for (const auto& [id, agent] : chassis.agents) all.push_back(keeps_awake(*agent));
        return all;
    }
    static bool become(RealChassis& chassis, const std::vector<bool>& expected) {
        return chassis.until([&] { return awake(chassis) == expected; });
    }
};

TEST_F(StayAwakeTest, WhoeverHasToDoWithAMove) {
    RealChassis chassis(3, 4, "stay_awake = \"2s\"\n");
    chassis.start_all();
    EXPECT_EQ(awake(chassis), std::vector<bool>(4, false)) << "nothing is moved";
    chassis.request_move(1, chassis.put(1, 1), 1, 2);
    EXPECT_TRUE(become(chassis, {true, true, true, false})) << chassis.logs();
    EXPECT_TRUE(become(chassis, {false, false, false, false})) << "2 s later";
}

TEST_F(StayAwakeTest, KeyraildIsToldToLetGo) {
    RealChassis chassis(2, 4, "stay_awake = \"60s\"\n");
    chassis.start_all();
    chassis.request_move(1, chassis.put(1, 1), 1, 2);
    ASSERT_TRUE(become(chassis, {true, true, true})) << chassis.logs();
    const auto file = chassis.files.directory() / "keyraild.toml";
    std::ifstream stream(file);
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    text.replace(text.find("\"60s\""), 5, "\"0s\"");
    std::ofstream(file) << text;
    chassis.daemon->signal(SIGHUP);
    EXPECT_TRUE(become(chassis, {false, true, true})) << chassis.logs();
}

/// Hundreds are on their way when the operator purges: none of them may arrive, or be put back.
TEST_F(ChassisTest, APurgeDuringADrainLeavesNothing) {
    constexpr uint64_t kSessions = 3000;
    for (uint64_t i = 0; i < kSessions; i++) chassis.put(1, i);
    keyrail(chassis, {"blade", "drain", "1", "--rate", "4000/s"});
    ASSERT_TRUE(chassis.until([&] { return sessions(1) < kSessions * 3 / 4; }));
    const auto purged = keyrail(chassis, {"session", "purge", "--all", "--yes"});
    EXPECT_TRUE(purged["failed"].empty()) << purged.dump();
    EXPECT_EQ(sessions(1) + sessions(2) + sessions(3), 0u) << "it is true when it is answered";
    EXPECT_FALSE(chassis.until([&] { return sessions(1) + sessions(2) + sessions(3) != 0; }, 1500));
    EXPECT_EQ(keyrail(chassis, {"status"})["moved_sessions"], 0) << "nor does keyraild take one for moved";
    keyrail(chassis, {"blade", "resume", "1"});
    chassis.put(1, 9000);
    EXPECT_EQ(pull(chassis, 2, chassis.name(1, 9000)), PullReply::kLookAgain)
        << "what was made after it moves";
}

TEST_F(ChassisTest, PurgeIsEverywhere) {
    for (uint64_t i = 0; i < 10; i++) chassis.put(1, i);
    for (uint64_t i = 10; i < 20; i++) chassis.put(2, i);
    EXPECT_EQ(keyrail(chassis, {"session", "purge", to_hex(bytes_of(chassis.name(2, 15)))})["purged"], 1);
    EXPECT_FALSE(chassis.stores.at(2).contains(chassis.name(2, 15)));
    EXPECT_EQ(keyrail(chassis, {"session", "purge", "--all", "--yes"})["purged"], 19);
    EXPECT_EQ(sessions(1) + sessions(2), 0u);
    keyrail(chassis, {"session", "purge"}, 2);
}

}  // namespace
}  // namespace keyrail::testing
