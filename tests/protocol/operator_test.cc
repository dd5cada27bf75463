// SPDX-License-Identifier: Apache-2.0
// The operator's command and its API, at the edges: words that would be another command, answers that are
// none, who may what.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <sstream>
#include <thread>

#include "tests/support/keyraild_bench.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using testing::KeyraildBench;
using ::testing::Not;
using testing::Process;

class Operator : public KeyraildBench {
  protected:
    /// What curl prints, with the status as its last line.
    std::string curl(const std::string& path, std::vector<std::string> more = {}) {
        const fs::path file = chassis.directory() / "got";
        fs::remove(file);
        std::vector<std::string> words = {"/usr/bin/curl",
                                          "--silent",
                                          "--path-as-is",
                                          "--write-out",
                                          "\n%{http_code}",
                                          "--unix-socket",
                                          (run_dir / "keyraild.sock").string(),
                                          "http://localhost" + path};
        words.insert(words.end(), more.begin(), more.end());
        Process process(words, file);
        require([&] { return process.ended(); }, "an answer of the API");
        return process.log();
    }
    static std::vector<std::string> post(const std::string& body) { return {"--data-binary", body}; }
};

TEST_F(Operator, AnIdIsNeverAnotherCommand) {
    start_whole();
    for (const std::string id : {"2/revoke?x=", "2/resume?", "2/resume", "../blades/2", "2#", "2 ", "%32",
                                 "2%2frevoke", "", "2\n", "*", "b2;", "é"})
        for (const std::string verb : {"drain", "resume", "revoke"}) {
            const auto answer = keyrail({"blade", verb, id, "--yes"});
            EXPECT_EQ(answer.status, 2) << verb << " '" << id << "': " << answer.text;
            EXPECT_TRUE(answer.json["error"]["message"].is_string()) << answer.text;
        }
    EXPECT_EQ(keyrail({"session", "where", "../blades/2/revoke"}).status, 2);
    // The API itself, whoever its client is.
    EXPECT_THAT(curl("/v1/blades/2/revoke?x=/drain", post("{}")), HasSubstr("\n400"));
    EXPECT_THAT(curl("/v1/blades/2%2frevoke/drain", post("{}")), HasSubstr("\n400"));
    EXPECT_THAT(curl("/v1/blades/b~2/drain", post("{}")), HasSubstr("\n400"));
    EXPECT_THAT(curl("/v1/blades/../blades/2/drain", post("{}")), HasSubstr("\n404"));
    const auto blades = keyrail({"blade", "list"}).json;
    ASSERT_EQ(blades.size(), 2u);
    EXPECT_EQ(blades[1]["state"], "up");
}

TEST_F(Operator, KeysThatTheApiDoesNotKnowAreRefused) {
    start_whole();
    const std::string wrong = curl("/v1/blades/2/drain", post(R"({"ratee": 5})"));
    EXPECT_THAT(wrong, HasSubstr("\n400"));
    EXPECT_THAT(wrong, HasSubstr("did you mean 'rate'?"));
    EXPECT_THAT(curl("/v1/blades/2/resume", post(R"({"rate": 5})")), HasSubstr("\n400"));
    EXPECT_EQ(keyrail({"blade", "list"}).json[1]["state"], "up");
}

TEST_F(Operator, EveryRefusalIsTheSameObject) {
    start_whole();
    const auto object_of = [](const std::string& text) {
        const auto body = nlohmann::json::parse(text.substr(0, text.rfind('\n')), nullptr, false);
        std::set<std::string> keys;
        if (body.is_object() && body.contains("error") && body["error"].is_object())
            for (const auto& [key, value] : body["error"].items()) keys.insert(key);
        return keys;
    };
    const std::map<std::string, std::vector<std::string>> requests = {
        {"/v1/nothing", {}},
        {"/v1/status", {"--request", "DELETE"}},
        {"/v1/keys", post("{}")},
        {"/v1/blades/9/drain", post("{}")},
        {"/v1/blades/2/drain", post("[1]")},
        {"/v1/blades/1/drain", post("{\"rate\": \"x\"}")},
        {"/v1/config/apply", post("{\"text\": 5}")},
        {"/v1/config/confirm", post("{}")},
        {"/v1/events?until=4", {}},
        {"/v1/sessions/purge", {"--header", "Transfer-Encoding: chunked", "--data-binary", "{}"}},
    };
    for (const auto& [path, more] : requests)
        EXPECT_THAT(object_of(curl(path, more)), IsSupersetOf({"code", "message", "fix", "at"}))
            << path << curl(path, more);
}

TEST_F(Operator, MistypedCommandsAreNamed) {
    start();
    const auto text = [&](const std::vector<std::string>& words) { return keyrail(words).text; };
    EXPECT_THAT(text({"statsu"}), HasSubstr("did you mean 'stats'?"));
    EXPECT_THAT(text({"blad"}), HasSubstr("did you mean 'blade'?"));
    EXPECT_THAT(text({"blade", "lst"}), HasSubstr("did you mean 'list'?"));
    EXPECT_THAT(text({"--timeout", "1s", "blade", "reboot"}),
                HasSubstr("there is no command 'keyrail blade reboot'"));
    EXPECT_EQ(keyrail({"help", "blade", "drain"}).status, 0);
    EXPECT_EQ(keyrail({"help", "blade", "drian"}).status, 2);
    EXPECT_EQ(keyrail({"version"}).status, 0);
    for (const std::string wrong : {"10", "1w", "-1s"})
        EXPECT_EQ(keyrail({"blade", "drain", "1", "--deadline", wrong}).status, 2);
    for (const std::string wrong : {"0", "10/min", "x"})
        EXPECT_EQ(keyrail({"blade", "drain", "1", "--rate", wrong}).status, 2);
}

TEST_F(Operator, WhatCannotBeUndoneNeedsAYes) {
    start_whole();
    EXPECT_EQ(keyrail({"blade", "revoke", "2"}).status, 1);
    EXPECT_EQ(keyrail({"session", "purge", "--all"}).status, 1);
    EXPECT_EQ(keyrail({"blade", "list"}).json.size(), 2u);
}

TEST_F(Operator, EachChangeIsAnEventWithItsActor) {
    start_whole();
    (void)keyrail({"blade", "drain", "2"});
    (void)keyrail({"blade", "drain", "2"});  // is so already
    (void)keyrail({"keys", "rotate"});
    const std::string events = curl("/v1/events");
    const auto list = nlohmann::json::parse(events.substr(0, events.rfind('\n')))["events"];
    ASSERT_EQ(list.size(), 2u) << events;
    EXPECT_EQ(list[0]["kind"], "blade.drain.started");
    EXPECT_EQ(list[0]["actor"], "root");
    EXPECT_EQ(list[1]["kind"], "key.coming");
    EXPECT_LT(list[0]["id"], list[1]["id"]);
    const std::string later = curl(fmt::format("/v1/events?since={}", list[0]["id"].get<uint64_t>()));
    EXPECT_THAT(later, Not(HasSubstr("blade.drain.started")));
    EXPECT_THAT(later, HasSubstr("key.coming"));
}

/// Users of other groups; the groups are those of a file of ours, which keyraild alone sees as /etc/group.
TEST_F(Operator, WhoMayWhat) {
    const fs::path groups = chassis.directory() / "group";
    std::ofstream(groups) << "root:x:0:\nkeyrail:x:54321:\nkeyrail-admin:x:54322:\n";
    fs::permissions(chassis.directory(), fs::perms::group_exec | fs::perms::others_exec,
                    fs::perm_options::add);
    daemon = std::make_unique<Process>(
        std::vector<std::string>{"/usr/bin/unshare", "--mount", "/bin/sh", "-c",
                                 R"(mount --bind "$1" /etc/group && exec "$2" --config "$3")", "sh",
                                 groups.string(), std::getenv("KR_KEYRAILD"), config_file().string()},
        chassis.directory() / "log");
    require([&] { return daemon->log().find(" is ready") != std::string::npos; }, "keyraild is ready");
    struct stat socket{};
    ASSERT_EQ(::stat((run_dir / "keyraild.sock").c_str(), &socket), 0);
    EXPECT_EQ(socket.st_mode & 0777, 0660u);
    EXPECT_EQ(socket.st_gid, 54321u);
    const auto as = [&](const std::string& ids, const std::string& path, const std::string& body) {
        const fs::path file = chassis.directory() / "got";
        fs::remove(file);
        std::ofstream(file).close();
        std::vector<std::string> words = {"/usr/bin/setpriv",
                                          "--reuid",
                                          "65534",
                                          "--regid",
                                          "65534",
                                          "--groups",
                                          ids,
                                          "/usr/bin/curl",
                                          "--silent",
                                          "--write-out",
                                          "%{http_code}",
                                          "--output",
                                          "/dev/null",
                                          "--unix-socket",
                                          (run_dir / "keyraild.sock").string(),
                                          "http://localhost" + path};
        if (!body.empty()) words.insert(words.end(), {"--data-binary", body});
        Process process(words, file);
        require([&] { return process.ended(); }, "an answer of the API");
        return process.log();
    };
    EXPECT_EQ(as("54321", "/v1/status", ""), "200");
    EXPECT_EQ(as("54321", "/v1/keys/rotate", "{}"), "403");
    EXPECT_EQ(as("54321", "/v1/config/diff", R"({"after": "a text names files, and keyraild opens them"})"),
              "403");
    EXPECT_EQ(as("54321", "/v1/config/diff", R"({"before": 1})"), "200") << "revisions may be compared";
    const std::string deep = R"({"file": )" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
    const auto file = run_dir / "deep.json";
    std::ofstream(file) << deep;
    EXPECT_EQ(as("54321", "/v1/config/diff", "@" + file.string()), "400");
    EXPECT_EQ(as("54321", "/v1/status", ""), "200") << "it lives";
    EXPECT_EQ(as("54321,54322", "/v1/keys/rotate", "{}"), "200");
    EXPECT_EQ(as("65534", "/v1/status", ""), "000") << "it cannot even connect";
    EXPECT_THAT(daemon->log(), HasSubstr("(by nobody)"));
}

// --- answers that are none

/// Answers every request with the same.
class OddServer {
  public:
    explicit OddServer(const fs::path& socket) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(socket.string(), address.sun_path);
        ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
        ::listen(fd_, 64);
        thread_ = std::thread([this] { serve(); });
    }
    ~OddServer() {
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        ::close(fd_);
    }
    void says(std::string body, int status = 200) {
        const std::lock_guard lock(mutex_);
        answer_ = fmt::format(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: "
            "close\r\n\r\n{}",
            status, body.size(), body);
    }

  private:
    void serve() {
        for (int client; (client = ::accept(fd_, nullptr, nullptr)) >= 0; ::close(client)) {
            std::string request;
            char buffer[4096];
            for (ssize_t got; request.find("\r\n\r\n") == std::string::npos &&
                              (got = ::read(client, buffer, sizeof buffer)) > 0;)
                request.append(buffer, static_cast<size_t>(got));
            const std::lock_guard lock(mutex_);
            if (!request.empty()) (void)::send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
        }
    }
    int fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::mutex mutex_;
    std::string answer_;
    std::thread thread_;
};

std::pair<int, std::string> run(const fs::path& directory, std::vector<std::string> words) {
    words.insert(words.begin(), std::getenv("KR_KEYRAIL"));
    const fs::path log = directory / "out";
    fs::remove(log);
    Process process(words, log);
    const int status = process.wait();
    return {status, process.log()};
}

/// All commands that ask keyraild, with arguments that they take.
const std::vector<std::vector<std::string>> kAsking = {{"status"},
                                                       {"stats"},
                                                       {"blade", "list"},
                                                       {"blade", "show", "1"},
                                                       {"blade", "drain", "1"},
                                                       {"blade", "drain", "1", "--wait"},
                                                       {"blade", "resume", "1"},
                                                       {"blade", "off", "1"},
                                                       {"blade", "weight", "1", "50"},
                                                       {"blade", "disable", "1"},
                                                       {"blade", "enable", "1"},
                                                       {"service", "disable", "www"},
                                                       {"service", "enable", "www"},
                                                       {"check", "list"},
                                                       {"check", "run", "1"},
                                                       {"blade", "enroll", "1"},
                                                       {"blade", "revoke", "1"},
                                                       {"session", "where", "00"},
                                                       {"session", "purge", "--all"},
                                                       {"keys", "list"},
                                                       {"keys", "rotate"},
                                                       {"keys", "rotate", "--wait"},
                                                       {"config", "reload"},
                                                       {"config", "apply", "/dev/null"},
                                                       {"config", "apply", "/dev/null", "--drain"},
                                                       {"config", "confirm"},
                                                       {"config", "cancel"},
                                                       {"config", "rollback", "1"},
                                                       {"config", "diff", "/dev/null", "--effect"},
                                                       {"config", "show"},
                                                       {"config", "history"},
                                                       {"explain", "192.0.2.10", "--why-not", "1"},
                                                       {"trace", "start"},
                                                       {"trace", "start", "--follow"},
                                                       {"trace", "show"},
                                                       {"trace", "show", "--follow"},
                                                       {"trace", "stop"},
                                                       {"capture", "/nowhere/capture.pcapng"},
                                                       {"top", "--once", "--every", "100ms"},
                                                       {"service", "list"},
                                                       {"service", "show", "www"},
                                                       {"pool", "list"},
                                                       {"pool", "show", "web"},
                                                       {"flow", "find", "192.0.2.10"},
                                                       {"move", "list"},
                                                       {"event", "list"},
                                                       {"event", "follow"}};
const std::vector<std::vector<std::string>> kOthers = {
    {"blade", "certify"}, {"chassis", "init"},     {"chassis", "certify"},
    {"config", "check"},  {"config", "example"},   {"config", "reference"},
    {"operator", "init"}, {"operator", "certify"}, {"help"},
    {"version"}};

TEST(OddAnswers, AreSaidAndNothingBreaks) {
    testing::TempDirectory directory;
    const fs::path socket = directory.path() / "s";
    OddServer server(socket);
    for (const auto& [body, status] : std::vector<std::pair<std::string, int>>{
             {"{}", 200},
             {"[]", 200},
             {"null", 200},
             {"3", 200},
             {"[1]", 200},
             {"[{}]", 200},
             {"\"x\"", 200},
             {"<html>", 200},
             {"", 200},
             {R"({"services": 1, "blades": [[]], "events": {}, "drain": {}})", 200},
             {"{}", 500},
             {"{\"error\": \"old\"}", 422},
             {R"({"error": {"code": "harm", "losses": 5, "mistakes": 7, "at": []}})", 422},
             {R"({"error": {"mistakes": [1, {}]}})", 422}}) {
        server.says(body, status);
        for (const auto& command : kAsking)
            for (const bool as_json : {false, true}) {
                std::vector<std::string> words = {"--socket", socket.string(), "--yes", "--timeout", "2s"};
                if (as_json) words.emplace_back("--json");
                words.insert(words.end(), command.begin(), command.end());
                const auto [code, text] = run(directory.path(), words);
                EXPECT_LT(code, 9) << body << ": " << fmt::format("{}", fmt::join(command, " ")) << ": "
                                   << text;
                if (status != 200) {
                    EXPECT_NE(code, 0) << body << ": " << fmt::format("{}", fmt::join(command, " "));
                }
            }
    }
}

/// A new command must stand in one of the lists above.
TEST(OddAnswers, AreTriedWithEveryCommand) {
    testing::TempDirectory directory;
    const auto [code, text] = run(directory.path(), {"--dump-commands"});
    ASSERT_EQ(code, 0) << text;
    const auto tree = nlohmann::json::parse(text);
    const auto known = [&](const std::vector<std::string>& words) {
        const auto begins = [&](const std::vector<std::string>& one) {
            return one.size() >= words.size() && std::equal(words.begin(), words.end(), one.begin());
        };
        return std::ranges::any_of(kAsking, begins) || std::ranges::any_of(kOthers, begins);
    };
    const std::function<void(const nlohmann::json&, std::vector<std::string>)> look =
        [&](const nlohmann::json& command, const std::vector<std::string>& words) {
            EXPECT_GT(command["text"].get<std::string>().size(), 5u)
                << fmt::format("{}", fmt::join(words, " "));
            for (const auto& option : command["options"])
                EXPECT_GT(option["text"].get<std::string>().size(), 5u)
                    << fmt::format("{}", fmt::join(words, " ")) << option;
            for (const auto& one : command["commands"]) {
                auto longer = words;
                longer.push_back(one["name"]);
                look(one, longer);
            }
            if (command["commands"].empty()) {
                EXPECT_TRUE(known(words)) << fmt::format("{}", fmt::join(words, " "));
            }
        };
    look(tree, {});
}

}  // namespace
}  // namespace keyrail
