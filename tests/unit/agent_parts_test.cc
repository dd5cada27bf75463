// SPDX-License-Identifier: Apache-2.0
// The agent's pure parts: configuration, sysctls, load.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>

#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <set>

#include "chassis.pb.h"
#include "control/agent/assignment.h"
#include "control/agent/backoff.h"
#include "control/agent/checkpointer.h"
#include "control/agent/config.h"
#include "control/agent/kernel_checks.h"
#include "control/agent/load.h"
#include "control/agent/records.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;

class Folder {
  public:
    Folder() {
        char name[] = "/tmp/keyrail-agent-XXXXXX";
        path_ = mkdtemp(name);
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    fs::path write(const std::string& name, const std::string& content) const {
        fs::create_directories((path_ / name).parent_path());
        std::ofstream(path_ / name) << content;
        return path_ / name;
    }
    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

// --- configuration

constexpr const char* kGood = R"([blade]
id = 3
control = "10.77.0.1:7400"
listen = "[fd77::13]:7401"
interface = "back0"
ca = "ca.pem"
certificate = "blade-3.pem"
key = "blade-3.key"
store_size_mb = 8
)";

class AgentConfigTest : public ::testing::Test {
  protected:
    AgentConfigTest() {
        for (const char* name : {"ca.pem", "blade-3.pem", "blade-3.key"}) folder.write(name, "");
    }
    /// The mistakes in the file, joined.
    std::string mistakes(const std::string& content) {
        const auto config = load_agent_config(folder.write("agent.toml", content));
        if (config) return "";
        std::string all;
        for (const std::string& line : config.error()) all += line + "\n";
        return all;
    }
    static std::string with(std::string text, const std::string& from, const std::string& to) {
        return text.replace(text.find(from), from.size(), to);
    }
    Folder folder;
};

TEST_F(AgentConfigTest, ReadsWhatIsThereAndKnowsTheRest) {
    const auto config = load_agent_config(folder.write("agent.toml", kGood));
    ASSERT_TRUE(config) << config.error()[0];
    EXPECT_EQ(config->id, 3);
    EXPECT_EQ(config->control.text(), "10.77.0.1:7400");
    EXPECT_EQ(config->listen.text(), "[fd77::13]:7401");
    EXPECT_EQ(config->tls.key, folder.path() / "blade-3.key");
    EXPECT_EQ(config->store, kDefaultStorePath);
    EXPECT_EQ(config->store_bytes, 8U << 20);
    EXPECT_EQ(config->bpffs, "/sys/fs/bpf/keyrail");
    EXPECT_TRUE(config->accept_program);
    EXPECT_EQ(config->busy_poll.count(), 0);
    EXPECT_TRUE(config->urgent);
    EXPECT_FALSE(config->core);
    EXPECT_EQ(
        load_agent_config(folder.write("core.toml", with(kGood, "store_size_mb = 8", "core = 1")))->core, 1u);
    EXPECT_FALSE(
        load_agent_config(folder.write("calm.toml", with(kGood, "store_size_mb = 8", "urgent = false")))
            ->urgent);
    const std::string polling = with(kGood, "store_size_mb = 8", "busy_poll = \"200us\"");
    EXPECT_EQ(load_agent_config(folder.write("polling.toml", polling))->busy_poll.count(), 200);
    EXPECT_EQ(config->stay_awake, std::chrono::seconds(1));
    for (const auto& [text, seconds] : {std::pair{"0s", 0}, std::pair{"60s", 60}}) {
        const std::string key = fmt::format("stay_awake = \"{}\"", text);
        const auto asleep = load_agent_config(folder.write("a.toml", with(kGood, "store_size_mb = 8", key)));
        ASSERT_TRUE(asleep) << asleep.error()[0];
        EXPECT_EQ(asleep->stay_awake, std::chrono::seconds(seconds));
    }
}

TEST_F(AgentConfigTest, NamesEveryMistakeWithItsLine) {
    EXPECT_NE(mistakes(with(kGood, "id = 3", "id = 4096")).find("agent.toml:2: "), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "10.77.0.1:7400", "nowhere")).find("agent.toml:3: "), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "back0", "an-interface-name-that-is-long")).find("agent.toml:5: "),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "ca.pem", "none.pem")).find("keyrail chassis init"), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "store_size_mb = \"8\"")).find("agent.toml:9: "),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "store = \"here\"")).find("absolute"),
              std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb", "store_size")).find("store_size"), std::string::npos);
    EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", "busy_poll = \"1s\"")).find("busy_poll"),
              std::string::npos);
    for (const char* value : {"\"61s\"", "\"-1s\"", "\"long\"", "1", "true"})
        EXPECT_NE(mistakes(with(kGood, "store_size_mb = 8", fmt::format("stay_awake = {}", value)))
                      .find("agent.toml:9: 'stay_awake'"),
                  std::string::npos)
            << value;
    EXPECT_NE(mistakes(with(kGood, "[blade]", "[blades]")).find("blade"), std::string::npos);
    EXPECT_NE(mistakes("not toml").find("agent.toml"), std::string::npos);
    const std::string two = mistakes(with(with(kGood, "id = 3", "id = 0"), "interface", "interfaces"));
    EXPECT_GE(std::count(two.begin(), two.end(), '\n'), 2) << two;
}

TEST(KernelChecks, SaysWhatToSet) {
    const Folder proc;
    for (const char* name : {"tcp_syncookies", "tcp_timestamps", "tcp_sack", "tcp_window_scaling"})
        proc.write(std::string("net/ipv4/") + name, "1\n");
    EXPECT_TRUE(sysctl_problems(proc.path()).empty());
    proc.write("net/ipv4/tcp_syncookies", "2\n");
    EXPECT_TRUE(sysctl_problems(proc.path()).empty());
    proc.write("net/ipv4/tcp_sack", "0\n");
    fs::remove(proc.path() / "net/ipv4/tcp_timestamps");
    const auto problems = sysctl_problems(proc.path());
    ASSERT_EQ(problems.size(), 2U);
    EXPECT_NE(problems[0].find("tcp_timestamps cannot be read"), std::string::npos);
    EXPECT_NE(problems[1].find("sysctl -w net.ipv4.tcp_sack=1"), std::string::npos);
}

TEST(LoadMeter, IsTheShareOfBusyTime) {
    const Folder proc;
    const fs::path file = proc.write("stat", "cpu 100 0 100 800 0 0 0 0 0 0\n");
    LoadMeter meter(file);
    proc.write("stat", "cpu 150 0 100 850 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 32767U);
    EXPECT_EQ(meter.measure(), 32767U) << "no time has passed";
    proc.write("stat", "garbage");
    EXPECT_EQ(meter.measure(), 32767U);
    proc.write("stat", "cpu 250 0 100 850 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 65535U);
}

TEST(LoadMeter, WhatGivesWayIsNoLoad) {
    const Folder proc;
    const fs::path file = proc.write("stat", "cpu 100 50 100 800 0 0 0 0 0 0\n");
    LoadMeter meter(file);
    proc.write("stat", "cpu 125 100 100 825 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 16383U);
    proc.write("stat", "cpu 125 200 100 825 0 0 0 0 0 0\n");
    EXPECT_EQ(meter.measure(), 0U);
}

TEST(Backoff, GrowsToASecondAndNotBeyond) {
    Backoff backoff;
    EXPECT_LE(backoff.next(), Backoff::kFirst);
    for (int i = 0; i < 20; i++) EXPECT_LE(backoff.next(), Backoff::kMax);
    EXPECT_GE(backoff.next(), Backoff::kMax / 2);
    backoff.reset();
    EXPECT_LE(backoff.next(), Backoff::kFirst);
}

}  // namespace
}  // namespace keyrail
