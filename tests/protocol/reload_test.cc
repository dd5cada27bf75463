// SPDX-License-Identifier: Apache-2.0
// A configuration that is refused changes nothing, whichever part refuses it: the real keyraild is told to
// read a configuration in which everything is new and one part cannot be had, by the API and by SIGHUP; what
// can be seen of it from outside is compared before and after.
#include <gmock/gmock.h>

#include <set>
#include <sstream>

#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

namespace fs = std::filesystem;
using chassis::Envelope;
using link::ToDataplane;
using ::testing::HasSubstr;
using testing::KeyraildBench;
using testing::Process;

std::string read_whole(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

/// What can be seen of keyraild.
struct View {
    std::string status, blades, metrics, certificate;
    std::multiset<std::string> sockets;  // what it listens on
    size_t descriptors = 0;
    std::map<std::string, std::string> state;  // files of state_dir
    size_t snapshots = 0, keys = 0;            // that were sent

    bool operator==(const View&) const = default;
};

class Reload : public KeyraildBench {
  protected:
    [[nodiscard]] fs::path state_dir() const { return chassis.directory() / "state"; }
    [[nodiscard]] std::string proc(const char* what) const {
        return fmt::format("/proc/{}/{}", daemon->pid(), what);
    }

    [[nodiscard]] std::set<std::string> socket_inodes() const {
        std::set<std::string> inodes;
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(proc("fd"))) {
            const std::string target = fs::read_symlink(entry.path(), ignored).string();
            if (target.starts_with("socket:[")) inodes.insert(target.substr(8, target.size() - 9));
        }
        return inodes;
    }
    /// "tcp ADDRESS:PORT" in hex, and paths of unix sockets.
    [[nodiscard]] std::multiset<std::string> listening() const {
        const auto ours = socket_inodes();
        std::multiset<std::string> found;
        for (const char* table : {"net/tcp", "net/tcp6"}) {
            std::ifstream in(proc(table));
            for (std::string line; std::getline(in, line);) {
                std::istringstream words(line);
                std::string number, local, remote, state, queues, timer, retries, uid, timeout, inode;
                words >> number >> local >> remote >> state >> queues >> timer >> retries >> uid >> timeout >>
                    inode;
                if (state == "0A" && ours.contains(inode)) found.insert("tcp " + local);
            }
        }
        std::ifstream in(proc("net/unix"));
        for (std::string line; std::getline(in, line);) {
            std::istringstream words(line);
            std::string number, references, protocol, flags, type, state, inode, path;
            words >> number >> references >> protocol >> flags >> type >> state >> inode >> path;
            if (flags == "00010000" && ours.contains(inode)) found.insert("unix " + path);
        }
        return found;
    }

    /// The serial of the certificate that the agents' port shows.
    std::string certificate() {
        std::string serial;
        asio::co_spawn(io, shown(io, chassis.tls("blade-3"), port, serial), asio::detached);
        require([&] { return !serial.empty(); }, "keyraild shows a certificate");
        return serial;
    }
    static asio::awaitable<void> shown(asio::io_context& io, TlsContext tls, uint16_t port,
                                       std::string& serial) {
        const HostPort control{*parse_ip("127.0.0.1"), port};
        const Identity expected = Identity::control();
        const auto channel = co_await connect_channel(io.get_executor(), tls, control, expected);
        serial = channel ? (*channel)->peer_certificate().serial : channel.error().message;
        if (channel) (*channel)->close();
    }

    std::string get(const std::string& path) {
        const fs::path file = chassis.directory() / "got";
        fs::remove(file);
        Process curl({"/usr/bin/curl", "--silent", "--unix-socket", (run_dir / "keyraild.sock").string(),
                      "http://localhost" + path},
                     file);
        require([&] { return curl.ended(); }, "an answer of the API");
        return read_whole(file);
    }
    /// Without what time alone changes.
    std::string metrics() {
        std::istringstream in(get("/metrics"));
        std::string text;
        for (std::string line; std::getline(in, line);)
            if (line.find("uptime") == std::string::npos) text += line + "\n";
        return text;
    }

    View look() {
        View view;
        nlohmann::json status = keyrail({"status"}).json;
        status.erase("uptime_s");
        view.status = status.dump(1);
        view.blades = keyrail({"blade", "list"}).json.dump(1);
        view.metrics = metrics();
        view.certificate = certificate();
        view.sockets = listening();
        for (const auto& entry : fs::recursive_directory_iterator(state_dir()))
            view.state[entry.path().string()] = entry.is_regular_file() ? read_whole(entry.path()) : "";
        view.snapshots = dataplane->of(ToDataplane::kSnapshot).size();
        view.keys = agents[1]->of(Envelope::kKeys).size() + agents[2]->of(Envelope::kKeys).size();
        // Connections of the questions above close a moment later: it is a count that stays.
        auto since = std::chrono::steady_clock::now();
        until([&] {
            const auto now = std::chrono::steady_clock::now();
            const auto count = static_cast<size_t>(std::distance(fs::directory_iterator(proc("fd")), {}));
            if (std::exchange(view.descriptors, count) != count) since = now;
            return now - since > std::chrono::milliseconds(200);
        });
        return view;
    }

    /// Another certificate for keyraild, beside the one in use.
    void make_next_certificate() {
        const fs::path pki = chassis.directory() / "pki", next = chassis.directory() / "next";
        fs::create_directories(next);
        for (const char* file : {"ca.pem", "ca.key"}) fs::copy(pki / file, next / file);
        ASSERT_TRUE(pki::certify(next, Identity::control()));
    }
    /// Everything is new in it that may change while keyraild runs.
    [[nodiscard]] std::string next_config(const std::string& listen = "", const std::string& redis = "",
                                          const std::string& repository = "lmdb") const {
        std::string text = good_config(3);
        const auto replace = [&](const std::string& old, const std::string& now) {
            const size_t at = text.find(old);
            if (at == std::string::npos) throw std::runtime_error("no " + old);
            text.replace(at, old.size(), now);
        };
        replace(fmt::format("127.0.0.1:{}", port),
                listen.empty() ? fmt::format("127.0.0.1:{}", next_port) : listen);
        const std::string pki = (chassis.directory() / "pki").string(),
                          next = (chassis.directory() / "next").string();
        replace(pki + "/control.pem", next + "/control.pem");
        replace(pki + "/control.key", next + "/control.key");
        return text + redis +
               fmt::format(
                   "[[service]]\nname = \"two\"\naddresses = [\"198.51.100.2\"]\nport = 443\npool = "
                   "\"web\"\nrepository = \"{}\"\n",
                   repository);
    }

    void expect_refused(const std::string& config, const std::string& why) {
        const View before = look();
        write_config(config);
        const auto answer = keyrail({"config", "reload"});
        EXPECT_EQ(answer.status, 1);
        EXPECT_THAT(answer.text, HasSubstr(why));
        compare(before, "the API");
        const size_t said = refusals();
        daemon->signal(SIGHUP);
        EXPECT_TRUE(until([&] { return refusals() > said; }));
        compare(before, "SIGHUP");
    }
    void compare(const View& before, const char* by) {
        const View after = look();
        EXPECT_EQ(before.status, after.status) << by;
        EXPECT_EQ(before.blades, after.blades) << by;
        EXPECT_EQ(before.metrics, after.metrics) << by;
        EXPECT_EQ(before.certificate, after.certificate) << by;
        EXPECT_EQ(before.sockets, after.sockets) << by;
        EXPECT_EQ(before.descriptors, after.descriptors) << by;
        EXPECT_EQ(before.state, after.state) << by;
        EXPECT_EQ(before.snapshots, after.snapshots) << by;
        EXPECT_EQ(before.keys, after.keys) << by;
    }
    [[nodiscard]] size_t refusals() const {
        const std::string log = daemon->log(), words = "nothing has changed";
        size_t count = 0;
        for (size_t at = log.find(words); at != std::string::npos; at = log.find(words, at + 1)) count++;
        return count;
    }

    void begin() {
        make_next_certificate();
        start_whole();
    }

    const uint16_t next_port = testing::free_port();
};

TEST_F(Reload, AMistakeInTheFile) {
    begin();
    expect_refused(next_config() + "[extra]\n", "unknown key 'extra'");
}

TEST_F(Reload, WhatNeedsARestart) {
    begin();
    for (const std::string key : {"metrics = \"127.0.0.1:1\"", "dataplane = \"/tmp/other.sock\"",
                                  "busy_poll = \"1ms\"", "urgent = false", "core = 1"}) {
        std::string config = next_config();
        config.insert(config.find("listen ="), key + "\n");
        expect_refused(config, "restart it");
    }
}

TEST_F(Reload, TheCertificate) {
    begin();
    const fs::path next = chassis.directory() / "next", pki = chassis.directory() / "pki";
    const std::string good = read_whole(next / "control.pem");
    std::ofstream(next / "control.pem") << "no certificate\n";
    expect_refused(next_config(), "control.pem");
    fs::copy(pki / "blade-3.pem", next / "control.pem",
             fs::copy_options::overwrite_existing);  // another key's
    expect_refused(next_config(), "control.");
    std::ofstream(next / "control.pem") << good;
    fs::permissions(next / "control.key", fs::perms::others_read, fs::perm_options::add);
    expect_refused(next_config(), "chmod 600");
}

TEST_F(Reload, TheAgentsPort) {
    begin();
    const testing::FakeEnd taken(io, chassis.tls("control"));
    expect_refused(next_config(taken.address().text()), "cannot listen on");
    expect_refused(next_config("192.0.2.1:7400"), "cannot listen on");
}

TEST_F(Reload, TheFilesOfRedis) {
    begin();
    const fs::path file = chassis.directory() / "password";
    const std::string redis =
        fmt::format("[redis]\nnodes = [\"127.0.0.1:1\"]\npassword_file = \"{}\"\n", file.string());
    std::ofstream(file) << "\n";
    expect_refused(next_config("", redis, "redis"), "no password in it");
    const std::string tls = fmt::format("[redis]\nnodes = [\"127.0.0.1:1\"]\nca = \"{}\"\n", file.string());
    expect_refused(next_config("", tls, "redis"), "password");
}

TEST_F(Reload, TheRepository) {
    begin();
    std::ofstream(state_dir() / "repository") << "a file\n";
    expect_refused(next_config(), "repository");
}

/// What the comparison above can see.
TEST_F(Reload, AGoodOneChangesAllOfIt) {
    begin();
    const View before = look();
    write_config(next_config());
    daemon->signal(SIGHUP);
    ASSERT_TRUE(until([&] { return dataplane->of(ToDataplane::kSnapshot).size() > before.snapshots; }));
    EXPECT_EQ(refusals(), 0u);
    port = next_port;
    const View after = look();
    EXPECT_NE(before.status, after.status);
    EXPECT_NE(before.blades, after.blades);
    EXPECT_NE(before.metrics, after.metrics);
    EXPECT_NE(before.certificate, after.certificate);
    EXPECT_NE(before.sockets, after.sockets);
    EXPECT_NE(before.state, after.state);
    EXPECT_NE(before.keys, after.keys);
}

}  // namespace
}  // namespace keyrail
