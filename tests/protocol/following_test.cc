// SPDX-License-Identifier: Apache-2.0
// Clients of the real keyraild that hear on and on, the page's files, and operators who come over TLS.
#include <gmock/gmock.h>

#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>

#include "tests/support/keyraild_bench.h"
#include "tests/support/ports.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::KeyraildBench;
using ::testing::Not;
using testing::Process;

class Following : public KeyraildBench {
  protected:
    /// curl, for as long as it is needed; what it got so far is its log.
    std::unique_ptr<Process> curl(const std::string& name, const std::string& url,
                                  std::vector<std::string> more) {
        std::vector<std::string> words = {"/usr/bin/curl", "--silent", "--show-error", "--no-buffer", url};
        words.insert(words.end(), more.begin(), more.end());
        fs::remove(chassis.directory() / name);  // what is there is written to
        return std::make_unique<Process>(words, chassis.directory() / name);
    }
    std::vector<std::string> socket() const {
        return {"--unix-socket", (run_dir / "keyraild.sock").string()};
    }
    std::unique_ptr<Process> follow(const std::string& name, const std::string& path,
                                    std::vector<std::string> more = {}) {
        std::vector<std::string> words = socket();
        words.insert(words.end(), {"--header", "Accept: text/event-stream"});
        words.insert(words.end(), more.begin(), more.end());
        return curl(name, "http://localhost" + path, words);
    }
    /// One answer, with its header fields.
    std::string get(const std::string& path, std::vector<std::string> more = {}) {
        std::vector<std::string> words = socket();
        words.insert(words.end(), {"--include"});
        words.insert(words.end(), more.begin(), more.end());
        const auto process = curl("got", "http://localhost" + path, words);
        require([&] { return process->ended(); }, "an answer of the API");
        return process->log();
    }
    bool says(const Process& process, const std::string& text) {
        return until([&] { return process.log().find(text) != std::string::npos; }, 10'000);
    }
};

TEST_F(Following, EventsComeAsTheyHappen) {
    start_whole();
    const auto listener = follow("listener", "/v1/events");
    ASSERT_EQ(keyrail({"blade", "drain", "2"}).status, 0);
    ASSERT_TRUE(says(*listener, "blade.drain.started")) << listener->log();
    ASSERT_EQ(keyrail({"blade", "resume", "2"}).status, 0);
    ASSERT_TRUE(says(*listener, "blade.resumed"));
    // In whole frames, each with a number, by which one who was cut off goes on.
    const std::string log = listener->log();
    EXPECT_EQ(log.find("id: "), 0u);
    EXPECT_THAT(log, HasSubstr("\nevent: event\ndata: {"));
    const std::string first = log.substr(4, log.find('\n') - 4);
    const auto later = follow("later", "/v1/events", {"--header", "Last-Event-ID: " + first});
    ASSERT_TRUE(says(*later, "blade.resumed"));
    EXPECT_THAT(later->log(), Not(HasSubstr("id: " + first + "\n")));
    // Who hears nothing else hears that it is still connected.
    ASSERT_TRUE(says(*later, "\n:\n"));
}

TEST_F(Following, TheCommandFollows) {
    start_whole();
    Process listener(
        {std::getenv("KR_KEYRAIL"), "--socket", (run_dir / "keyraild.sock").string(), "event", "follow"},
        chassis.directory() / "followed");
    ASSERT_EQ(keyrail({"blade", "drain", "2"}).status, 0);
    ASSERT_TRUE(says(listener, "blade 2 (b2) drains")) << listener.log();
    kill_daemon();
    require([&] { return listener.ended(); }, "the end");
    EXPECT_EQ(listener.wait(), 3) << listener.log();
}

TEST_F(Following, TheChassisComesAgainAndAgain) {
    start_whole();
    const auto listener = follow("live", "/v1/live");
    ASSERT_TRUE(says(*listener, "event: hello\ndata: "));
    EXPECT_THAT(listener->log(), HasSubstr("\"role\":\"admin\""));
    ASSERT_TRUE(says(*listener, "event: chassis\ndata: "));
    agents.at(1)->health(true, 4711);
    EXPECT_TRUE(says(*listener, "\"sessions\":4711"));
    // The same once, for who asks as for anything else.
    const std::string once = get("/v1/live");
    EXPECT_THAT(once, AllOf(HasSubstr("200 OK"), HasSubstr("\"sessions\":4711"), HasSubstr("\"you\":{")));
    EXPECT_THAT(get("/v1/trend"), HasSubstr("\"samples\":["));
}

TEST_F(Following, SoManyAndNoMoreAndTheyKeepNobodyWaiting) {
    start_whole();
    using asio::local::stream_protocol;
    constexpr size_t kMost = 32;
    const std::string request =
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    std::vector<stream_protocol::socket> all;
    for (size_t i = 0; i < kMost; i++) {
        all.emplace_back(io);
        all.back().connect(stream_protocol::endpoint((run_dir / "keyraild.sock").string()));
        asio::write(all.back(), asio::buffer(request));
        ASSERT_TRUE(until([&] { return all.back().available() > 0; })) << i;
    }
    EXPECT_THAT(get("/v1/events", {"--header", "Accept: text/event-stream"}), HasSubstr(" 503 "));
    EXPECT_EQ(keyrail({"status"}).status, 0) << "others are answered as ever";
    all.pop_back();
    const auto gets_in = [&] {
        const std::string answer =
            get("/v1/events", {"--max-time", "1", "--header", "Accept: text/event-stream"});
        return answer.find("text/event-stream") != std::string::npos;
    };
    EXPECT_TRUE(until(gets_in, 15'000)) << "who has gone makes room";
}

TEST_F(Following, ThePageIsServedAndBounded) {
    start();
    EXPECT_THAT(get("/"), AllOf(HasSubstr("302 Found"), HasSubstr("Location: /ui\r\n")));
    EXPECT_THAT(get("/ui"), AllOf(HasSubstr("200 OK"), HasSubstr("text/html"), HasSubstr("<!doctype html>"),
                                  HasSubstr("default-src 'none'"), HasSubstr("frame-ancestors 'none'"),
                                  HasSubstr("nosniff")));
    EXPECT_THAT(get("/ui/app.js"), AllOf(HasSubstr("200 OK"), HasSubstr("text/javascript")));
    for (const char* path : {"/ui/embed.py", "/ui/nothing", "/ui/", "/ui/../etc", "/ui/a/b"})
        EXPECT_THAT(get(path, {"--path-as-is"}), HasSubstr(" 404 ")) << path;
}

TEST_F(Following, PagesOfOtherSitesChangeNothing) {
    start_whole();
    const std::string drain = "/v1/blades/2/drain";
    const std::vector<std::string> body = {"--data-binary", "{}"};
    const auto with = [&](const std::string& field) {
        std::vector<std::string> words = body;
        words.insert(words.end(), {"--header", field});
        return words;
    };
    for (const char* field : {"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Origin: null"})
        EXPECT_THAT(get(drain, with(field)), HasSubstr(" 403 ")) << field;
    // By a name that somebody else has given to this address, nothing is shown at all.
    EXPECT_THAT(get("/v1/status", {"--header", "Host: evil.example:7480"}), HasSubstr(" 403 "));
    EXPECT_EQ(keyrail({"blade", "list"}).json[1]["state"], "up");
    EXPECT_THAT(get(drain, with("Origin: http://localhost")), HasSubstr("200 OK"));
}

/// HTTPS, with certificates that the command has made.
class Operators : public Following {
  protected:
    Operators() : https_port(testing::free_port()), dir(chassis.directory() / "operators") {
        std::string text = good_config();
        text += fmt::format(
            "[https]\nlisten = \"127.0.0.1:{}\"\nca = \"{}/ca.pem\"\ncertificate = \"{}/server.pem\"\n"
            "key = \"{}/server.key\"\n",
            https_port, dir.string(), dir.string(), dir.string());
        write_config(text);
        EXPECT_EQ(keyrail({"operator", "init", "--dir", dir.string(), "--host", "127.0.0.1", "--host",
                           "chassis.test"})
                      .status,
                  0);
    }
    void certify(const std::string& name, const std::string& role) {
        const auto made = keyrail({"operator", "certify", name, "--role", role, "--dir", dir.string()});
        EXPECT_EQ(made.status, 0) << made.text;
    }
    /// `who` is the stem of the files; "": without a certificate.
    std::string https(const fs::path& who, const std::string& path, std::vector<std::string> more = {}) {
        std::vector<std::string> words = {"--include", "--cacert", (dir / "ca.pem").string()};
        if (!who.empty())
            words.insert(words.end(), {"--cert", who.string() + ".pem", "--key", who.string() + ".key"});
        words.insert(words.end(), more.begin(), more.end());
        const auto process = curl("https", fmt::format("https://127.0.0.1:{}{}", https_port, path), words);
        require([&] { return process->ended(); }, "an answer over TLS");
        return process->log();
    }
    uint16_t https_port;
    fs::path dir;
};

TEST_F(Operators, MayWhatTheirCertificatesSay) {
    certify("alice", "admin");
    certify("bob", "read");
    start_whole();
    const fs::path alice = dir / "operator-alice", bob = dir / "operator-bob";
    const std::vector<std::string> post = {"--data-binary", "{}"};
    EXPECT_THAT(https(bob, "/v1/status"), HasSubstr("200 OK"));
    EXPECT_THAT(https(bob, "/ui"), HasSubstr("<!doctype html>"));
    EXPECT_THAT(
        https(bob, "/v1/blades/2/drain", post),
        AllOf(HasSubstr(" 403 "), HasSubstr("bob (certificate)"), HasSubstr("keyrail:operator:admin")));
    EXPECT_THAT(https("", "/v1/status"), AllOf(HasSubstr(" 403 "), HasSubstr("keyrail:operator:read")));
    EXPECT_THAT(https(alice, "/v1/blades/2/drain", post), HasSubstr("200 OK"));
    EXPECT_THAT(keyrail({"event", "list"}).text, HasSubstr("alice (certificate)")) << "who did it is known";
    EXPECT_THAT(https(alice, "/v1/blades/2/resume",
                      {"--data-binary", "{}", "--header", "Origin: https://evil.example"}),
                HasSubstr(" 403 "));
}

TEST_F(Operators, AreNobodyElse) {
    start_whole();
    // A blade's certificate, of the chassis' CA; and one of another operators' CA.
    const fs::path blade = chassis.directory() / "pki" / "blade-1";
    EXPECT_THAT(https(blade, "/v1/status"), Not(HasSubstr("200 OK")));
    const std::string other = (chassis.directory() / "other").string();
    EXPECT_EQ(keyrail({"operator", "init", "--dir", other, "--host", "x"}).status, 0);
    EXPECT_EQ(keyrail({"operator", "certify", "eve", "--role", "admin", "--dir", other}).status, 0);
    EXPECT_THAT(https(other + "/operator-eve", "/v1/status"), Not(HasSubstr("200 OK")));
    // The server's own is no operator's.
    EXPECT_THAT(https(dir / "server", "/v1/status"), Not(HasSubstr("200 OK")));
    EXPECT_EQ(keyrail({"operator", "certify", "../x", "--dir", other}).status, 2);
    EXPECT_EQ(keyrail({"operator", "init", "--dir", other, "--host", "x"}).status, 1) << "never over a CA";
    EXPECT_EQ(keyrail({"operator", "init", "--dir", other + "2", "--host", "x,DNS:y"}).status, 1);
}

TEST_F(Operators, FilesThatAreReplacedCountAtOnce) {
    certify("alice", "read");
    start_whole();
    const fs::path alice = dir / "operator-alice";
    EXPECT_THAT(https(alice, "/v1/status"), HasSubstr("200 OK"));
    const fs::path next = chassis.directory() / "next";
    EXPECT_EQ(keyrail({"operator", "init", "--dir", next.string(), "--host", "127.0.0.1"}).status, 0);
    // Half of it: not a pair. The ones of before go on.
    fs::rename(dir / "server.key", chassis.directory() / "kept.key");
    fs::copy_file(next / "server.key", dir / "server.key");
    EXPECT_THAT(https(alice, "/v1/status"), HasSubstr("200 OK"));
    EXPECT_THAT(daemon->log(), HasSubstr("the certificates of before go on"));
    fs::remove(dir / "server.pem");
    fs::copy_file(next / "server.pem", dir / "server.pem");
    EXPECT_THAT(https(alice, "/v1/status"), Not(HasSubstr("200 OK"))) << "curl trusts the CA of before";
    EXPECT_THAT(https(alice, "/v1/status", {"--cacert", (next / "ca.pem").string()}), HasSubstr("200 OK"));
}

}  // namespace
}  // namespace keyrail
