// SPDX-License-Identifier: Apache-2.0
// Enrolment: a token is good once, for a while, for one blade; what was decided holds after a restart.
#include "control/daemon/membership/enrolment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "control/pki/join_token.h"
#include "control/protocol/file.h"
#include "dataplane/common/hex.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class EnrolmentTest : public ::testing::Test {
  protected:
    EnrolmentTest() {
        for (const BladeId id : {BladeId{1}, BladeId{2}}) {
            const IpAddress address = *parse_ip(fmt::format("10.77.0.1{}", id));
            config.blades[id] = blade(id, fmt::format("b{}", id), address);
            config.pools["web"].push_back(id);
        }
        config.pools["mail"] = {2};
        config.services.resize(1);
        config.services[0].name = "www";
        config.services[0].pool = "web";
        config.services[0].addresses = {*parse_ip("198.51.100.1")};
        config.ticket_keys = {{std::string(16, 'k'), 2}};
        assign_pools(config);
    }
    ~EnrolmentTest() override { fs::remove_all(dir); }

    static fs::path make_directory() {
        char name[] = "/dev/shm/keyrail-enrolment-XXXXXX";
        return mkdtemp(name);
    }
    static BladeConfig blade(BladeId id, const std::string& name, const IpAddress& address) {
        BladeConfig one;
        one.id = id;
        one.name = name;
        one.address = address;
        one.agent = {address, kAgentPort};
        return one;
    }
    static Enrolment::Wish wish(BladeId id = 7) {
        Enrolment::Wish one;
        one.id = id;
        one.address = *parse_ip("10.77.0.17");
        one.pools = {"web"};
        return one;
    }
    static Enrolment::Wish of_configured(BladeId id) {
        Enrolment::Wish one;
        one.id = id;
        return one;
    }
    std::string token(const Enrolment::Wish& one) {
        return enrolment.invite(one, config, now).value_or("none");
    }
    std::string why_not(Enrolment::Wish one) {
        const auto made = enrolment.invite(one, config, now);
        return made ? "" : made.error().message;
    }
    std::string refusal(const std::string& secret, Enrolment::Time when) const {
        const auto checked = enrolment.check(secret, when);
        return checked ? "" : checked.error().message;
    }
    Config merged() const {
        Config result = config;
        problems = enrolment.merge(result);
        return result;
    }
    void restart() {
        enrolment = Enrolment(file());
        ASSERT_TRUE(enrolment.load());
    }
    [[nodiscard]] fs::path file() const { return dir / "enrolment.json"; }

    fs::path dir = make_directory();
    Config config;
    Enrolment::Time now = std::chrono::system_clock::now();
    Enrolment enrolment{file()};
    mutable std::vector<std::string> problems;
};

TEST_F(EnrolmentTest, ATokenIsGoodOnce) {
    const std::string secret = token(wish());
    EXPECT_EQ(enrolment.check(secret, now).value_or(BladeId{}), 7);
    ASSERT_TRUE(enrolment.admit(7, "AB"));
    EXPECT_THAT(refusal(secret, now), HasSubstr("used already"));
    restart();
    EXPECT_THAT(refusal(secret, now), HasSubstr("used already"));
}

TEST_F(EnrolmentTest, ForAWhile) {
    const std::string secret = token(wish());
    EXPECT_EQ(refusal(secret, now + 59min), "");
    EXPECT_THAT(refusal(secret, now + 1h), HasSubstr("expired at"));
    Enrolment::Wish long_one = wish();
    long_one.valid = 8 * 24h;
    EXPECT_THAT(why_not(long_one), HasSubstr("valid from 60 s to"));
}

TEST_F(EnrolmentTest, ANewTokenReplacesTheOldOne) {
    const std::string first = token(wish()), second = token(wish());
    EXPECT_THAT(refusal(first, now), HasSubstr("not known"));
    EXPECT_EQ(refusal(second, now), "");
    EXPECT_THAT(refusal("", now), HasSubstr("not known"));
}

TEST_F(EnrolmentTest, OnlyHashesAreKept) {
    const std::string secret = token(wish());
    const std::string text = *read_file(file(), 65536);
    EXPECT_THAT(text, Not(HasSubstr(to_hex(secret))));
    struct stat status{};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST_F(EnrolmentTest, ABladeJoinsItsPools) {
    Enrolment::Wish both = wish();
    both.pools = {"web", "mail"};
    token(both);
    EXPECT_TRUE(merged().blades.at(7).certificates->empty());  // it has not joined: nobody can be it
    ASSERT_TRUE(enrolment.admit(7, "AB"));
    restart();
    const Config result = merged();
    EXPECT_THAT(problems, IsEmpty());
    EXPECT_EQ(result.blades.at(7).agent.text(), "10.77.0.17:7401");
    EXPECT_EQ(result.blades.at(7).name, "blade-7");
    EXPECT_THAT(*result.blades.at(7).certificates, ElementsAre("AB"));
    EXPECT_EQ(result.pools.at("mail"), (std::vector<BladeId>{2, 7}));
    EXPECT_EQ(result.services[0].blades, (std::vector<BladeId>{1, 2, 7}));
}

TEST_F(EnrolmentTest, WishesThatCannotBe) {
    Enrolment::Wish one = wish();
    one.pools = {"wbe"};
    EXPECT_THAT(why_not(one), HasSubstr("no pool 'wbe'"));
    one.pools.clear();
    EXPECT_THAT(why_not(one), HasSubstr("needs a pool"));
    one = wish();
    one.address.reset();
    EXPECT_THAT(why_not(one), HasSubstr("--address"));
    one.address = *parse_ip("10.77.0.12");
    EXPECT_THAT(why_not(one), HasSubstr("is blade 2's"));
    one.address = *parse_ip("198.51.100.1");
    EXPECT_THAT(why_not(one), HasSubstr("VIP of service 'www'"));
    one = wish();
    one.name = "b1";
    EXPECT_THAT(why_not(one), HasSubstr("is blade 1's"));
    EXPECT_THAT(why_not(wish(2)), HasSubstr("leave them out here"));
    EXPECT_FALSE(fs::exists(file()));
}

TEST_F(EnrolmentTest, ARunningBladeIsNotCutOffByATokenForIt) {
    const std::string secret = token(of_configured(1));
    EXPECT_FALSE(merged().blades.at(1).certificates);  // any of the chassis CA, as before
    ASSERT_TRUE(enrolment.admit(1, "AB"));
    EXPECT_THAT(*merged().blades.at(1).certificates, ElementsAre("AB"));  // from now on only the new one
    EXPECT_NE(refusal(secret, now), "");
}

TEST_F(EnrolmentTest, Renewal) {
    token(wish());
    ASSERT_TRUE(enrolment.admit(7, "A1"));
    ASSERT_TRUE(enrolment.renew(7, "A1", "A2"));
    EXPECT_THAT(*merged().blades.at(7).certificates, UnorderedElementsAre("A1", "A2"));  // until it is in use
    ASSERT_TRUE(enrolment.renew(7, "A2", "A3"));
    EXPECT_THAT(*merged().blades.at(7).certificates, UnorderedElementsAre("A2", "A3"));
    ASSERT_TRUE(enrolment.renew(1, "B1", "B2"));
    EXPECT_FALSE(merged().blades.at(1).certificates);
}

TEST_F(EnrolmentTest, ARevokedBladeIsOutUntilItIsLetInAgain) {
    ASSERT_TRUE(enrolment.revoke(2));
    restart();
    EXPECT_EQ(enrolment.revoked(), (std::vector<BladeId>{2}));
    Config result = merged();
    EXPECT_FALSE(result.blades.contains(2));
    EXPECT_EQ(result.services[0].blades, (std::vector<BladeId>{1}));
    EXPECT_THAT(result.pools.at("mail"), IsEmpty());
    EXPECT_THAT(result.ticket_keys, IsEmpty());

    token(of_configured(2));
    EXPECT_TRUE(merged().blades.at(2).certificates->empty());  // its old certificates stay bad
    ASSERT_TRUE(enrolment.admit(2, "AC"));
    result = merged();
    EXPECT_THAT(*result.blades.at(2).certificates, ElementsAre("AC"));
    EXPECT_EQ(result.services[0].blades, (std::vector<BladeId>{1, 2}));
    EXPECT_THAT(enrolment.revoked(), IsEmpty());
}

TEST_F(EnrolmentTest, ARevokedBladeOfTheTokensIsForgotten) {
    token(wish());
    ASSERT_TRUE(enrolment.admit(7, "AB"));
    ASSERT_TRUE(enrolment.revoke(7));
    EXPECT_FALSE(merged().blades.contains(7));
    EXPECT_THAT(why_not(of_configured(7)), HasSubstr("needs a pool"));
}

TEST_F(EnrolmentTest, TheConfigurationComesFirst) {
    token(wish());
    ASSERT_TRUE(enrolment.admit(7, "AB"));
    config.pools.erase("web");
    config.services.clear();
    EXPECT_FALSE(merged().pools.contains("web"));
    EXPECT_THAT(problems, ElementsAre(HasSubstr("pool 'web', which is gone")));
    config.blades[3] = blade(3, "new", *parse_ip("10.77.0.17"));
    EXPECT_FALSE(merged().blades.contains(7));
    EXPECT_THAT(problems, ElementsAre(HasSubstr("blade 7, which was enrolled, is left out: the address")));
}

TEST_F(EnrolmentTest, ADamagedFileIsAnError) {
    token(wish());
    const std::string whole = *read_file(file(), 65536);
    for (size_t i = 0; i + 1 < whole.size(); i += 3) {
        ASSERT_TRUE(replace_file(file(), whole.substr(0, i), 0600));
        const auto loaded = Enrolment(file()).load();
        ASSERT_FALSE(loaded) << i;
        ASSERT_THAT(loaded.error().message, HasSubstr("damaged"));
    }
    ASSERT_TRUE(
        replace_file(file(), R"({"blades":[{"id":4096,"revoked":false,"certificates":null}]})", 0600));
    EXPECT_FALSE(Enrolment(file()).load());
}

TEST(JoinTokenTest, ThereAndBack) {
    JoinToken token;
    token.blade = 12;
    token.control = *parse_host_port("[fd77::1]:7400");
    token.ca.fill(0x5a);
    token.secret = std::string(JoinToken::kSecretSize, '\x7f');
    const auto again = JoinToken::parse(token.text());
    ASSERT_TRUE(again) << token.text();
    EXPECT_EQ(again->text(), token.text());
    const std::string text = token.text();
    for (size_t i = 0; i < text.size(); i++) EXPECT_FALSE(JoinToken::parse(text.substr(0, i))) << i;
    EXPECT_FALSE(JoinToken::parse(text + "/"));
    EXPECT_FALSE(JoinToken::parse(text + "00"));
}

}  // namespace
}  // namespace keyrail
