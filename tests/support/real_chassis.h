// SPDX-License-Identifier: Apache-2.0
// A chassis of real processes over loopback: keyraild and one keyrail-agent per blade, each with its store.
// The dataplane is the test's (FakeDataplane), and so are the TLS servers: the test puts sessions into the
// stores, or starts real servers over them.
#pragma once

#include <fmt/format.h>

#include <cstdlib>
#include <functional>
#include <memory>

#include "dataplane/common/arrival.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/stamp.h"
#include "tests/support/blade_ids.h"
#include "tests/support/fake_control.h"
#include "tests/support/fake_dataplane.h"
#include "tests/support/process.h"
#include "tests/support/session_names.h"
#include "tests/support/temp_store.h"

namespace keyrail::testing {

/// Needs KR_KEYRAILD and KR_AGENT in the environment.
class RealChassis {
  public:
    explicit RealChassis(uint16_t count, unsigned store_mb = 4, std::string more = "")
        : blades(count), store_size_mb(store_mb), settings(std::move(more)), files(count) {
        ::signal(SIGPIPE, SIG_IGN);
        std::filesystem::create_directories(run_dir());
        for (const BladeId id : testing::blade_ids(blades)) agent_port[id] = peer_port[id] = free_port();
        control_port = free_port();
        for (const BladeId id : testing::blade_ids(blades)) set_control(id, control_port);
        dataplane = std::make_unique<FakeDataplane>(run_dir() / "dp.sock");
    }
    RealChassis(const RealChassis&) = delete;
    RealChassis& operator=(const RealChassis&) = delete;
    ~RealChassis() {
        agents.clear();
        daemon.reset();
    }

    [[nodiscard]] uint16_t service_port() const { return service_port_; }
    [[nodiscard]] std::filesystem::path run_dir() const { return files.directory() / "run"; }
    [[nodiscard]] std::filesystem::path socket() const { return run_dir() / "keyraild.sock"; }
    [[nodiscard]] std::string store_path(BladeId id) const {
        return (files.directory() / fmt::format("store-{}", id)).string();
    }

    /// Where this agent finds keyraild: a test may put itself between. Before the agent starts.
    void set_control(BladeId id, uint16_t port) {
        reach_control[id] = port;
        write_agent_config(id);
    }
    /// The test's own servers listen there, at service_port(). Before keyraild starts.
    void serve_at(const std::vector<std::string>& addresses) {
        server_.close();
        service_addresses = addresses;
    }
    void start_daemon() {
        write_daemon_config();
        daemon = start("KR_KEYRAILD", "keyraild");
    }
    void start_agent(BladeId id) { agents[id] = start("KR_AGENT", fmt::format("agent-{}", id)); }
    void start_all() {
        start_daemon();
        for (const BladeId id : testing::blade_ids(blades)) start_agent(id);
        require([&] { return ready(); }, "every agent has its keys");
    }
    /// Every agent has told its store the name key.
    [[nodiscard]] bool stores_ready() {
        for (const BladeId id : testing::blade_ids(blades)) {
            if (!stores.contains(id)) {
                auto opened = Store::open(store_path(id));
                if (opened) stores.emplace(id, std::move(*opened));
            }
            if (!stores.contains(id) || control_of(id).name_key_count == 0) return false;
        }
        return true;
    }
    /// And for the dataplane every blade is up.
    [[nodiscard]] bool ready() {
        if (!stores_ready()) return false;
        for (const BladeId id : testing::blade_ids(blades))
            if (dataplane->intake(id) != link::INTAKE_OPEN) return false;
        return true;
    }

    bool until(const std::function<bool()>& condition, int milliseconds = 10'000) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
        for (;;) {
            dataplane->poll();
            between();
            if (condition()) return true;
            if (std::chrono::steady_clock::now() > end) return false;
            dataplane->wait(1);
        }
    }
    void require(const std::function<bool()>& condition, const char* what) {
        if (!until(condition)) throw std::runtime_error(fmt::format("not in time: {}\n{}", what, logs()));
    }

    /// What the agent has told the servers of this blade.
    [[nodiscard]] StoreControl control_of(BladeId id) const {
        StoreControl copy;
        (void)stores.at(id).control().read([&](const StoreControl& control) { copy = control; });
        return copy;
    }
    /// A session of `home`, put into its store; the same number, the same name.
    SessionName put(BladeId home, uint64_t number, BladeId at = 0) {
        SessionRecord record;
        fill(record, number, 160);
        record.name = name(home, number);
        record.port = service_port();
        record.service = ServiceId::of("www");
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3600'000;
        if (stores.at(at ? at : home).put(record) != Store::Put::kStored)
            throw std::runtime_error("the store does not take a session");
        return record.name;
    }
    [[nodiscard]] SessionName name(BladeId home, uint64_t number) const {
        const StoreControl control = control_of(home);
        return name_at(control.name_keys[0].key, control.name_keys[0].generation, home, number);
    }
    void request_move(uint64_t id, const SessionName& name, BladeId from, BladeId to,
                      uint32_t budget_us = 1'000'000, const Arrival& arrival = {}) {
        link::FromDataplane message;
        link::MoveRequest& request = *message.mutable_move_request();
        request.set_move_id(id);
        request.set_name(bytes_of(name));
        request.set_from(from);
        request.set_to(to);
        request.set_service("www");
        request.set_tls_version(number_of(TlsVersion::tls13));
        request.set_budget_us(budget_us);
        request.set_sent_ns(stamp_ns());
        request.set_token(arrival.token);
        request.set_arrival_port(arrival.port);
        dataplane->send(message);
    }
    [[nodiscard]] std::string logs() const {
        std::string text = daemon ? daemon->log() : "";
        for (const auto& [id, agent] : agents) text += fmt::format("--- agent {}\n{}", id, agent->log());
        return text;
    }

  private:
    asio::io_context io_;
    asio::ip::tcp::acceptor server_{io_, {asio::ip::tcp::v4(), 0}};  // a server listens, so every blade is up
    uint16_t service_port_ = server_.local_endpoint().port();

  public:
    const uint16_t blades;
    const unsigned store_size_mb;
    const std::string settings;  // lines of keyraild's [chassis] and of the agents' [blade]
    TestChassis files;
    std::function<void()> between = [] {};    // called again and again while until() waits
    std::map<uint16_t, uint16_t> agent_port;  // where agents listen
    std::map<uint16_t, uint16_t>
        peer_port;              // where others are told to reach them: a test may put itself between
    uint16_t control_port = 0;  // where keyraild listens
    std::map<uint16_t, uint16_t> reach_control;  // where each agent looks for it
    std::vector<std::string> service_addresses = {"198.51.100.1"};
    std::unique_ptr<FakeDataplane> dataplane;
    std::unique_ptr<Process> daemon;
    std::map<BladeId, std::unique_ptr<Process>> agents;
    std::map<BladeId, Store> stores;

  private:
    std::unique_ptr<Process> start(const char* variable, const std::string& stem) const {
        const char* program = std::getenv(variable);
        if (!program) throw std::runtime_error(fmt::format("{} is not set", variable));
        return std::make_unique<Process>(
            std::vector<std::string>{program, "--config", (files.directory() / (stem + ".toml")).string()},
            files.directory() / (stem + ".log"));
    }
    [[nodiscard]] std::string identity(const std::string& stem) const {
        const TlsFiles tls = files.files(stem);
        return fmt::format("ca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n", tls.ca.string(),
                           tls.certificate.string(), tls.key.string());
    }
    void write_agent_config(BladeId id) const {
        std::ofstream(files.directory() / fmt::format("agent-{}.toml", id)) << fmt::format(
            "[blade]\nid = {}\ncontrol = \"127.0.0.1:{}\"\nlisten = \"127.0.0.1:{}\"\ninterface = \"lo\"\n"
            "store = \"{}\"\nstore_size_mb = {}\naccept_program = false\n{}{}",
            id, reach_control.at(id), agent_port.at(id), store_path(id), store_size_mb, settings,
            identity(fmt::format("blade-{}", id)));
    }
    void write_daemon_config() const {
        std::string text = fmt::format(
            "[chassis]\nname = \"test\"\nrun_dir = \"{}\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:{}\"\n"
            "pull_budget = \"100ms\"\n"  // the first move meets agents that have no connection yet
            "{}{}",
            run_dir().string(), (files.directory() / "state").string(), control_port, settings,
            identity("control"));
        std::string ids;
        for (const BladeId id : testing::blade_ids(blades)) {
            text += fmt::format(
                "[[blade]]\nid = {}\nname = \"b{}\"\naddress = \"127.0.1.{}\"\n"
                "agent = \"127.0.0.1:{}\"\n",
                id, id, id, peer_port.at(id));
            ids += fmt::format("{}{}", id == 1 ? "" : ", ", id);
        }
        std::ofstream(files.directory() / "keyraild.toml")
            << text << "[[pool]]\nname = \"web\"\nblades = [" << ids
            << fmt::format(
                   "]\n[[service]]\nname = \"www\"\naddresses = [\"{}\"]\nport = {}\npool = \"web\"\n"
                   "tickets = \"single-use\"\n",  // so that a second use shows wherever it happens

                   fmt::join(service_addresses, "\", \""), service_port());
    }
};

}  // namespace keyrail::testing
