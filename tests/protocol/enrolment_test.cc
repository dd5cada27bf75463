// SPDX-License-Identifier: Apache-2.0
// Who may be a blade: the real keyraild, keyrail and `keyrail-agent join`. Tokens, renewal, revocation, new
// keys.
#include <gmock/gmock.h>

#include "dataplane/common/hex.h"
#include "tests/support/blade_ids.h"
#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using chassis::Envelope;
using ::testing::ElementsAre;
using testing::FakeAgent;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::KeyraildBench;
using testing::Process;
using testing::TestChassis;

class KeyraildEnrolment : public KeyraildBench {
  protected:
    std::string token(const std::vector<std::string>& words) {
        std::vector<std::string> all = {"blade", "enroll"};
        all.insert(all.end(), words.begin(), words.end());
        const auto answer = keyrail(all);
        EXPECT_EQ(answer.status, 0) << answer.text;
        return answer.json.is_object() ? answer.json.value("token", "") : "";
    }
    struct Joined {
        int status;
        std::string text;
    };
    Joined join(const std::string& text) {
        const auto token = chassis.directory() / "token";
        std::ofstream(token) << text << "\n";
        return join(std::vector<std::string>{"--token-file", token.string()});
    }
    Joined join(std::vector<std::string> how) {
        fs::create_directories(machine());
        const auto log = chassis.directory() / "join";
        fs::remove(log);
        std::vector<std::string> words = {
            std::getenv("KR_AGENT"), "join", "--config", (machine() / "agent.toml").string(),
            "--interface",           "lo"};
        words.insert(words.end(), how.begin(), how.end());
        Process process(words, log);
        EXPECT_TRUE(until([&] { return process.ended(); }, 15'000));
        return {process.wait(), process.log()};
    }
    [[nodiscard]] fs::path machine() const { return chassis.directory() / "machine"; }
    [[nodiscard]] TlsContext machine_tls(BladeId id) const {
        return *TlsContext::load({machine() / "ca.pem", machine() / fmt::format("blade-{}.pem", id),
                                  machine() / fmt::format("blade-{}.key", id)});
    }
    /// Why it is not let in, by keyraild's log.
    bool refused(const TlsContext& tls, const std::string& why) {
        FakeAgent agent(io, tls, port);
        return until([&] { return !agent.ended().empty() && daemon->log().find(why) != std::string::npos; });
    }
    void restart() {
        kill_daemon();
        agents.clear();
        start();
    }
};

TEST_F(KeyraildEnrolment, AMachineBecomesABlade) {
    start_whole();
    const std::string text = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    EXPECT_EQ(keyrail({"blade", "list"}).json[2]["name"], "blade-7");
    const Joined joined = join(text);
    ASSERT_EQ(joined.status, 0) << joined.text;
    const TlsContext tls = machine_tls(7);
    EXPECT_EQ(tls.self(), Identity::of_blade(7));
    EXPECT_EQ(fs::status(machine() / "blade-7.key").permissions() & fs::perms::mask,
              fs::perms::owner_read | fs::perms::owner_write);

    agents[7] = std::make_unique<FakeAgent>(io, tls, port);
    ASSERT_TRUE(until([&] { return !agents[7]->of(Envelope::kKeys).empty(); }));
    agents[7]->health(true);
    ASSERT_TRUE(until([&] { return dataplane->intake(7) == link::INTAKE_OPEN; }));
    EXPECT_THAT(dataplane->snapshot()->services(0).blade_ids(), ElementsAre(1, 2, 7));
    ASSERT_TRUE(until([&] { return agents[1]->of(Envelope::kKeys).back().keys().peers_size() == 2; }));
    const auto peer = agents[1]->of(Envelope::kKeys).back().keys().peers(1);
    EXPECT_EQ(peer.blade_id(), 7u);
    EXPECT_EQ(peer.address(), "127.0.1.7:7401");
    EXPECT_THAT(peer.certificates(), ElementsAre(tls.certificate().serial));

    // Once: here, and after a restart.
    for (int i = 0; i < 2; i++) {
        const Joined again = join(text);
        EXPECT_EQ(again.status, 1);
        EXPECT_THAT(again.text, HasSubstr("refused: the token of blade 7 was used already"));
        EXPECT_THAT(daemon->log(), HasSubstr("gets none: the token of blade 7 was used already"));
        EXPECT_EQ(machine_tls(7).certificate().serial, tls.certificate().serial);  // what it had, it has
        if (i == 0) restart();
    }
    EXPECT_THAT(keyrail({"blade", "list"}).json[2]["id"], 7);
}

TEST_F(KeyraildEnrolment, TheWrittenConfigurationRunsAnAgent) {
    start_whole();
    ASSERT_EQ(join(token({"7", "--pools", "web", "--address", "127.0.1.7"})).status, 0);
    const auto file = machine() / "agent.toml";
    std::ofstream(file, std::ios::app) << "store = \"" << (chassis.directory() / "store").string()
                                       << "\"\nstore_size_mb = 1\naccept_program = false\n";
    Process agent({std::getenv("KR_AGENT"), "--config", file.string()}, chassis.directory() / "agent");
    EXPECT_TRUE(until([&] { return keyrail({"blade", "list"}).json[2]["agent"]["connected"] == true; }))
        << agent.log();
    EXPECT_EQ(keyrail({"blade", "revoke", "7", "--yes"}).status, 0);  // and out it goes
    ASSERT_TRUE(until([&] { return agent.log().find("control: control at") != std::string::npos; }));
    EXPECT_TRUE(
        until([&] { return daemon->log().find("is not let in: it was revoked") != std::string::npos; }));
    agent.signal(SIGTERM);
    EXPECT_TRUE(until([&] { return agent.ended(); }));
}

/// Every user of a machine can read the arguments of every process.
TEST_F(KeyraildEnrolment, ATokenIsNotAnArgument) {
    start_whole();
    const auto fresh = [&] { return token({"7", "--pools", "web", "--address", "127.0.1.7"}); };
    const Joined refused = join(std::vector{fresh()});
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.text, HasSubstr("--token-file"));
    EXPECT_FALSE(fs::exists(machine() / "blade-7.key"));
    ::setenv("KEYRAIL_JOIN_TOKEN", fresh().c_str(), 1);
    const Joined by_environment = join(std::vector<std::string>{});
    ::unsetenv("KEYRAIL_JOIN_TOKEN");
    EXPECT_EQ(by_environment.status, 0) << by_environment.text;
    EXPECT_EQ(join("# of systemd\nKEYRAIL_JOIN_TOKEN=\"" + fresh() + "\"\nOTHER=1").status, 0);
    const auto given = chassis.directory() / "given";
    std::ofstream(given) << fresh();
    const int kept = ::dup(STDIN_FILENO), in = ::open(given.c_str(), O_RDONLY);
    ::dup2(in, STDIN_FILENO);
    const Joined by_input = join(std::vector<std::string>{});
    ::dup2(kept, STDIN_FILENO);
    ::close(in);
    ::close(kept);
    EXPECT_EQ(by_input.status, 0) << by_input.text;
    EXPECT_THAT(join("").text, HasSubstr("there is no token"));
    EXPECT_THAT(join(std::string(100'000, 'x')).text, HasSubstr("more than a token"));
    EXPECT_THAT(join(std::vector<std::string>{"--token-file", "/nonexistent"}).text,
                HasSubstr("No such file"));
}

TEST_F(KeyraildEnrolment, TokensThatAreNoneAndOtherChassis) {
    start_whole();
    EXPECT_THAT(join("keyrail-join/7/nonsense").text, HasSubstr("this is not a token"));
    const std::string text = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    std::string guessed = text;
    guessed.back() = guessed.back() == '0' ? '1' : '0';
    EXPECT_THAT(join(guessed).text, HasSubstr("refused: the token is not known"));
    std::string other_ca = text;
    const size_t at = other_ca.find('/', other_ca.find(':')) + 1;
    other_ca[at] = other_ca[at] == '0' ? '1' : '0';
    EXPECT_THAT(join(other_ca).text, HasSubstr("not accepted"));
    EXPECT_FALSE(fs::exists(machine() / "blade-7.key"));
    EXPECT_EQ(daemon->log().find(text.substr(text.rfind('/') + 1)), std::string::npos);  // never logged
    EXPECT_EQ(keyrail({"blade", "enroll", "7", "--pools", "wbe", "--address", "127.0.1.7"}).status, 1);
    EXPECT_EQ(keyrail({"blade", "enroll", "4096"}).status, 2);
    EXPECT_EQ(keyrail({"blade", "enroll", "1", "--valid", "1s"}).status, 1);
    EXPECT_EQ(join(text).status, 0);  // failed attempts have not used it up
}

/// Who finds it and writes another number into it gets a certificate of the blade it was made for, and no
/// other.
TEST_F(KeyraildEnrolment, ATokenIsOfOneBlade) {
    start_whole();
    std::string text = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    text.replace(text.find("/7/"), 3, "/1/");
    const Joined joined = join(text);
    EXPECT_EQ(joined.status, 1);
    EXPECT_THAT(joined.text, HasSubstr("the certificate is of blade 7, not of blade 1"));
    EXPECT_FALSE(fs::exists(machine() / "blade-1.key"));
    EXPECT_TRUE(agents[1]->ended().empty());

    FakeAgent stranger(io, *TlsContext::pinned(*pki::fingerprint_of_file(chassis.files("control").ca)), port);
    ASSERT_TRUE(until([&] { return stranger.connected(); }));
    std::string fresh = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    Envelope request;
    request.mutable_certificate_request()->set_token_secret(*from_hex(fresh.substr(fresh.rfind('/') + 1)));
    // A request of blade 1's own key, for all that is in it.
    request.mutable_certificate_request()->set_request(*pki::make_request(chassis.files("blade-1").key));
    stranger.send(request);
    ASSERT_TRUE(until([&] { return !stranger.of(Envelope::kCertificateReply).empty(); }));
    const auto reply = stranger.of(Envelope::kCertificateReply)[0].certificate_reply();
    EXPECT_EQ(reply.blade_id(), 7u) << reply.refused();
}

/// The token says whose CA keyraild's is; who cannot show it never sees the secret.
TEST_F(KeyraildEnrolment, WhoAnswersInKeyraildsPlaceLearnsNoSecret) {
    start_whole();
    std::string text = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    const TestChassis other(1);  // with a CA of its own
    for (const TlsContext& tls : {other.tls("control"), chassis.tls("blade-1"), chassis.tls("control")}) {
        const bool real = tls.self() == Identity::control() &&
                          tls.certificate().serial == chassis.tls("control").certificate().serial;
        size_t heard = 0;
        const auto impostor = *Listener::open(
            io.get_executor(), tls, {*parse_ip("127.0.0.1"), 0},
            [&heard](ChannelPtr channel) -> asio::awaitable<void> {
                const auto message = co_await channel->receive();
                heard += message ? 1 : 0;
            },
            [](const Error&) {}, Strangers::admitted);
        const size_t at = text.find('/', text.find('/') + 1) + 1;
        std::string there = text;
        there.replace(at, there.find('/', at) - at, fmt::format("127.0.0.1:{}", impostor->port()));
        const Joined joined = join(there);
        EXPECT_EQ(joined.status, 1) << joined.text;
        EXPECT_FALSE(fs::exists(machine() / "blade-7.key"));
        EXPECT_EQ(heard, real ? 1u : 0u);
        impostor->close();
    }
    EXPECT_EQ(join(text).status, 0);
}

TEST_F(KeyraildEnrolment, WithoutTheCasKeyNobodyJoins) {
    start_whole();
    const auto key = chassis.directory() / "pki/ca.key", away = chassis.directory() / "away";
    fs::rename(key, away);
    const std::string text = token({"7", "--pools", "web", "--address", "127.0.1.7"});
    EXPECT_THAT(join(text).text, HasSubstr("the CA is not here"));
    fs::rename(away, key);
    EXPECT_EQ(join(text).status, 0);
}

TEST_F(KeyraildEnrolment, ARevokedBladeIsCutOffForGood) {
    start_whole();
    const uint32_t before = agents[1]->of(Envelope::kKeys).back().keys().name_keys_size();
    EXPECT_EQ(keyrail({"blade", "revoke", "9", "--yes"}).status, 6);
    const auto revoked = keyrail({"blade", "revoke", "2", "--yes"});
    EXPECT_EQ(revoked.status, 0) << revoked.text;
    ASSERT_TRUE(until([&] { return !agents[2]->ended().empty(); }));
    ASSERT_TRUE(until([&] { return dataplane->snapshot()->blades_size() == 1; }));
    ASSERT_TRUE(until([&] { return agents[1]->of(Envelope::kKeys).back().keys().revoked_size() == 1; }));
    const chassis::Keys keys = agents[1]->of(Envelope::kKeys).back().keys();
    EXPECT_EQ(keys.peers_size(), 0);
    EXPECT_THAT(keys.revoked(), ElementsAre(2));
    EXPECT_EQ(keys.name_keys_size(), static_cast<int>(before + 1));  // what it knew is being replaced
    EXPECT_EQ(keyrail({"blade", "list"}).json.size(), 1u);
    EXPECT_TRUE(refused(chassis.tls("blade-2"), "is not let in: it was revoked"));
    restart();
    EXPECT_TRUE(refused(chassis.tls("blade-2"), "is not let in: it was revoked"));
    // With one that nobody knew of: made by somebody who had the CA's key for a moment.
    const auto now = pki::Clock::now();
    ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::of_blade(2),
                             {now - std::chrono::hours(1), now + std::chrono::hours(20)}));
    restart();
    EXPECT_TRUE(refused(chassis.tls("blade-2"), "is not let in: it was revoked"));

    // The slot gets another machine; the old one stays out.
    ASSERT_EQ(join(token({"2"})).status, 0);
    FakeAgent fresh(io, machine_tls(2), port);
    ASSERT_TRUE(until([&] { return !fresh.of(Envelope::kKeys).empty(); }));
    EXPECT_TRUE(refused(chassis.tls("blade-2"), "is not good any more"));
    EXPECT_TRUE(fresh.ended().empty());
}

TEST_F(KeyraildEnrolment, ACertificateIsRenewedAndTheNextOneToo) {
    start_whole();
    ASSERT_EQ(join(token({"7", "--pools", "web", "--address", "127.0.1.7"})).status, 0);
    const auto key = machine() / "blade-7.key", file = machine() / "blade-7.pem";
    for (uint64_t round = 1; round <= 3; round++) {
        FakeAgent agent(io, machine_tls(7), port);
        ASSERT_TRUE(until([&] { return agent.connected(); }));
        Envelope request;
        request.set_request(round);
        request.mutable_certificate_request()->set_request(*pki::make_request(key));
        agent.send(request);
        ASSERT_TRUE(until([&] { return !agent.of(Envelope::kCertificateReply).empty(); }));
        const auto reply = agent.of(Envelope::kCertificateReply)[0].certificate_reply();
        ASSERT_EQ(reply.refused(), "");
        ASSERT_TRUE(pki::write_certificate(file, reply.certificate()));
        EXPECT_TRUE(agent.ended().empty());  // the connection goes on
        EXPECT_EQ(machine_tls(7).self(), Identity::of_blade(7));
    }
}

TEST_F(KeyraildEnrolment, OurOwnCertificateIsRenewedBeforeItEnds) {
    const auto now = pki::Clock::now();
    ASSERT_TRUE(pki::certify(chassis.directory() / "pki", Identity::control(),
                             {now - std::chrono::days(10), now + std::chrono::days(2)}));
    start();
    ASSERT_TRUE(until([&] { return daemon->log().find("our own is renewed") != std::string::npos; }));
    EXPECT_GT(chassis.tls("control").certificate().until, now + std::chrono::days(80));
    connect_agent(1);  // is shown the new one, and takes it
}

TEST_F(KeyraildEnrolment, StrangersMayOnlyAsk) {
    start_whole();
    const auto ca = *pki::fingerprint_of_file(chassis.files("control").ca);
    FakeAgent stranger(io, *TlsContext::pinned(ca), port);
    ASSERT_TRUE(until([&] { return stranger.connected(); }));
    Envelope hello;
    hello.mutable_agent_hello()->set_version("1");
    stranger.send(hello);
    ASSERT_TRUE(until([&] { return !stranger.ended().empty(); }));
    EXPECT_THAT(stranger.of(Envelope::kKeys), IsEmpty());
    EXPECT_THAT(daemon->log(), HasSubstr("it has no certificate, and asks for none"));
}

TEST_F(KeyraildEnrolment, KeysAreReplacedWhenEverybodyHasTheNewOnes) {
    start_whole();
    const std::string name = name_of(1);
    const auto generation = [&] { return agents[1]->of(Envelope::kKeys).back().keys(); };
    const auto states = [&] {
        std::map<std::string, int> count;
        const nlohmann::json keys = keyrail({"keys", "list"}).json;
        for (const auto& key : keys["names"]) count[key["state"]]++;
        return count;
    };
    EXPECT_EQ(keyrail({"keys", "rotate"}).status, 0);
    ASSERT_TRUE(until([&] { return generation().name_keys_size() == 2; }));
    EXPECT_TRUE(generation().name_keys(0).current());  // the new one only opens, for now
    EXPECT_EQ(generation().cookie_keys_size(), 2);
    agents[1]->health(true);
    EXPECT_FALSE(until([&] { return generation().name_keys(1).current(); }, 700));
    EXPECT_THAT(keyrail({"keys", "list"}).json["waits_for"], ElementsAre("the agent of blade 2"));
    restart();  // in the middle of it
    for (const BladeId id : testing::blade_ids(kBlades)) connect_agent(id);
    for (auto& [id, agent] : agents) agent->health(true);
    ASSERT_TRUE(until([&] { return generation().name_keys(1).current(); }));
    EXPECT_FALSE(generation().name_keys(0).current());
    EXPECT_EQ(states(), (std::map<std::string, int>{{"current", 1}, {"old", 1}}));
    ASSERT_TRUE(until([&] { return dataplane->snapshot()->name_keys_size() == 2; }));
    // A session of before: its name still says where it is.
    EXPECT_EQ(keyrail({"session", "where", hex(name)}).json["home"], 1);
    // The snapshot opens both, cookies are made with the new one.
    ASSERT_TRUE(until([&] { return dataplane->snapshot()->cookie_keys(1).current(); }));
}

}  // namespace
}  // namespace keyrail
