// SPDX-License-Identifier: Apache-2.0
// What follows from one check after the other, and what a [pool.check] table says.
#include "control/daemon/checks/check_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/protocol/toml_table.h"

namespace keyrail {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Health = CheckVerdict::Health;

class CheckStateTest : public ::testing::Test {
  protected:
    bool take(CheckAnswer::Kind kind) { return state.take({.kind = kind, .why = "x"}, check, now); }
    bool good() { return take(CheckAnswer::Kind::good); }
    bool bad() { return take(CheckAnswer::Kind::bad); }
    void out() {
        bad();
        ASSERT_TRUE(bad());
    }
    void in_again() {
        for (int i = 0; i < 100 && state.health() != Health::up; i++, now += 1s) good();
        ASSERT_EQ(state.health(), Health::up);
    }

    CheckConfig check;
    CheckState state;
    CheckState::Time now = CheckState::Time{} + 1000h;
};

TEST_F(CheckStateTest, FailuresInARowCount) {
    EXPECT_EQ(state.health(), Health::unknown);
    EXPECT_FALSE(bad());
    EXPECT_EQ(state.health(), Health::unknown) << "nobody is judged by one";
    EXPECT_TRUE(good());
    for (int i = 0; i < 10; i++) {  // every second one
        EXPECT_FALSE(bad());
        EXPECT_FALSE(good());
    }
    EXPECT_EQ(state.health(), Health::up);
    EXPECT_FALSE(bad());
    EXPECT_TRUE(bad());
    EXPECT_EQ(state.health(), Health::down);
}

TEST_F(CheckStateTest, WhatWeCannotAskSaysNothing) {
    good();
    bad();
    for (int i = 0; i < 10; i++) EXPECT_FALSE(take(CheckAnswer::Kind::ours));
    EXPECT_EQ(state.health(), Health::up);
    EXPECT_TRUE(bad());
}

/// 250 ms until it is asked, 250 for no answer, 100 until it is asked again, 250 again.
TEST_F(CheckStateTest, IsOutWithinASecond) {
    good();
    auto worst = state.wait(check, 1.0) + check.timeout;
    bad();
    worst += state.wait(check, 1.0) + check.timeout;
    EXPECT_TRUE(bad());
    EXPECT_LT(worst, 1s);
    EXPECT_GT(state.wait(check, 0.0), 1500ms) << "then seldom";
    EXPECT_LT(state.wait(check, 0.0), state.wait(check, 1.0)) << "not all at once";
}

TEST_F(CheckStateTest, ComesBackGently) {
    good();
    EXPECT_EQ(state.share(check, now), 100u) << "it never was away";
    out();
    good();
    EXPECT_LT(state.wait(check, 1.0), 150ms) << "is it back? soon known";
    good();
    EXPECT_FALSE(good()) << "not before hold_down is over";
    EXPECT_EQ(*state.held(check, now), 5s);
    now += 6s;
    EXPECT_TRUE(good());
    EXPECT_EQ(state.share(check, now), 10u);
    EXPECT_EQ(state.share(check, now + 15s), 50u);
    EXPECT_EQ(state.share(check, now + 30s), 100u);
    check.slow_start = 0us;
    EXPECT_EQ(state.share(check, now), 100u);
}

TEST_F(CheckStateTest, EachFlapKeepsItOutLonger) {
    good();
    for (const auto hold : {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s}) {
        out();
        EXPECT_EQ(state.hold(), hold);
        now += hold;
        in_again();
    }
    EXPECT_EQ(state.flaps(), 8u);
    now += 10min;  // twice five minutes of quiet
    out();
    EXPECT_EQ(state.hold(), 600s / 4);
    now += 150s;
    in_again();
    now += 24h;
    out();
    EXPECT_EQ(state.hold(), 5s);
}

TEST_F(CheckStateTest, OnceMoreBadAndItWaitsAnew) {
    good();
    out();
    now += 10s;
    good();
    good();
    EXPECT_FALSE(bad());
    EXPECT_FALSE(good());
    EXPECT_FALSE(good());
    EXPECT_TRUE(good());
}

class CheckKeysTest : public ::testing::Test {
  protected:
    CheckConfig read(const std::string& text) {
        ConfigErrors errors("f.toml");
        const auto root = parse_toml_text(text, "f.toml", errors);
        TomlTable table(*root, "[check]", errors);
        CheckConfig check = read_check(table, errors, "/tmp");
        mistakes = errors.lines();
        return check;
    }
    std::vector<std::string> mistakes;
};

TEST_F(CheckKeysTest, AreRead) {
    const CheckConfig check = read(R"(type = "https"
via = "backplane"
sni = "www.example.com"
path = "/healthz"
expect = "200-299,301"
verify = "pin:sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
interval = "1s"
hold_down = "1s..2min"
fail_open = "50%"
jitter = "0%"
resume = false
)");
    EXPECT_THAT(mistakes, ElementsAre());
    EXPECT_EQ(check.type, CheckType::https);
    EXPECT_EQ(check.via, CheckVia::backplane);
    EXPECT_THAT(check.expect, ElementsAre(StatusRange{200, 299}, StatusRange{301, 301}));
    EXPECT_EQ(check.verify, CheckVerify::pin);
    EXPECT_THAT(check.pins, ElementsAre(std::string(32, '\0')));
    EXPECT_EQ(check.interval, 1s);
    EXPECT_EQ(check.hold_down, 1s);
    EXPECT_EQ(check.hold_down_max, 2min);
    EXPECT_EQ(check.fail_open, 50u);
    EXPECT_FALSE(check.resume);
    EXPECT_EQ(read("hold_down = \"3s\"\n").hold_down_max, 3s);
    EXPECT_EQ(read(""), CheckConfig{});
}

TEST_F(CheckKeysTest, MistakesAreNamed) {
    const std::vector<std::pair<const char*, const char*>> wrong = {
        {"type = \"udp\"", "write one of: tcp, tls, https"},
        {"path = \"healthz\"", "write one like \"/healthz\""},
        {"path = \"/a b\"", "write one like"},
        {"expect = \"2xx\"", "is no list of statuses"},
        {"expect = \"400-300\"", "is no list of statuses"},
        {"expect = \"200,\"", "is no list of statuses"},
        {"verify = \"pin:sha256/short\"", "is no pin"},
        {"verify = \"pin:\"", "write \"ca\", \"none\" or"},
        {"verify = \"yes\"", "write \"ca\", \"none\" or"},
        {"ca = \"nowhere.pem\"", "there is no file /tmp/nowhere.pem"},
        {"hold_down = \"5min..5s\"", "write a duration, or two"},
        {"fail_open = \"50\"", "write \"0%\" to \"100%\""},
        {"fail_open = \"101%\"", "write \"0%\" to \"100%\""},
        {"jitter = \"60%\"", "write \"0%\" to \"50%\""},
        {"interval = \"1ms\"", "it must be from 50ms"},
        {"sni = \"*.example.com\"", "write a name such as"},
        {"type = \"https\"\nalpn = \"h2\"", "speaks HTTP/1.1"},
        {"intervall = \"1s\"", "did you mean 'interval'"}};
    for (const auto& [text, what] : wrong) {
        read(text);
        ASSERT_EQ(mistakes.size(), 1u) << text;
        EXPECT_THAT(mistakes[0], HasSubstr(what)) << text;
    }
}

}  // namespace
}  // namespace keyrail
