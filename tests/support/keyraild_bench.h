// SPDX-License-Identifier: Apache-2.0
// The real keyraild and the real keyrail between a dataplane and agents that do as the test wants, over real
// sockets.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "dataplane/common/session_name.h"
#include "tests/support/blade_ids.h"
#include "tests/support/fake_control.h"
#include "tests/support/fake_dataplane.h"
#include "tests/support/process.h"
#include "tests/support/session_names.h"

namespace keyrail::testing {

/// An agent: connects, keeps what it is sent, answers pings.
class FakeAgent {
  public:
    FakeAgent(asio::io_context& io, const TlsContext& tls, uint16_t port) {
        asio::co_spawn(io, run(io, tls, port, state_), asio::detached);
    }
    ~FakeAgent() { close(); }
    FakeAgent(const FakeAgent&) = delete;
    FakeAgent& operator=(const FakeAgent&) = delete;

    void send(chassis::Envelope message) { (void)state_->channel->send(std::move(message)); }
    void close() {
        state_->closed = true;
        if (state_->channel) state_->channel->close();
    }
    [[nodiscard]] bool connected() const { return state_->channel != nullptr; }
    [[nodiscard]] const std::string& ended() const { return state_->ended; }
    std::vector<chassis::Envelope> of(chassis::Envelope::BodyCase kind) const {
        std::vector<chassis::Envelope> found;
        for (const auto& message : state_->received)
            if (message.body_case() == kind) found.push_back(message);
        return found;
    }
    void health(bool listening, uint64_t sessions = 0) {
        chassis::Envelope message;
        message.mutable_health()->set_keys_version(keys_version());
        auto& server = *message.mutable_health()->add_servers();
        server.set_port(443);
        server.set_listening(listening);
        message.mutable_health()->set_sessions(sessions);
        send(message);
    }
    /// As an agent does when it has put new Keys into use.
    [[nodiscard]] uint64_t keys_version() const {
        const auto keys = of(chassis::Envelope::kKeys);
        return keys.empty() ? 0 : keys.back().keys().version();
    }
    void done(uint64_t order, chassis::MoveResult result, uint64_t expires_ms = 0) {
        chassis::Envelope message;
        message.mutable_move_done()->set_order_id(order);
        message.mutable_move_done()->set_result(result);
        message.mutable_move_done()->set_expires_ms(expires_ms);
        send(message);
    }
    using Receipts = std::map<std::string, std::string>;  // by name
    void announce(const std::vector<std::string>& names, uint64_t expires_ms, bool reset,
                  const Receipts& receipts = {}) {
        chassis::Envelope message;
        message.mutable_announce()->set_reset(reset);
        message.mutable_announce()->set_done(reset);
        for (const std::string& name : names) {
            auto& held = *message.mutable_announce()->add_held();
            held.set_name(name);
            held.set_expires_ms(expires_ms);
            if (const auto receipt = receipts.find(name); receipt != receipts.end())
                held.set_receipt(receipt->second);
        }
        send(message);
    }
    /// What keyraild gave with its announcements.
    [[nodiscard]] Receipts receipts() const {
        Receipts found;
        for (const auto& message : of(chassis::Envelope::kExpect))
            found[message.expect().name()] = message.expect().receipt();
        return found;
    }
    /// What it says to every Query.
    chassis::QueryReply& holds() { return state_->holds; }
    /// It hangs: it answers nothing, but its kernel does.
    void hang(bool hangs) { state_->hangs = hangs; }

  private:
    struct State {
        ChannelPtr channel;
        bool closed = false, hangs = false;
        std::vector<chassis::Envelope> received;
        std::string ended;
        chassis::QueryReply holds;
    };
    static asio::awaitable<void> run(asio::io_context& io, TlsContext tls, uint16_t port,
                                     std::shared_ptr<State> state) {
        const HostPort control{*parse_ip("127.0.0.1"), port};
        const Identity expected = Identity::control();
        auto channel = co_await connect_channel(io.get_executor(), tls, control, expected);
        asio::steady_timer pause(io);
        while (!channel && !state->closed && channel.error().message.ends_with("Connection refused")) {
            pause.expires_after(std::chrono::milliseconds(20));
            co_await pause.async_wait(asio::use_awaitable);
            channel = co_await connect_channel(io.get_executor(), tls, control, expected);
        }
        if (!channel || state->closed) {
            state->ended = channel ? "closed" : channel.error().message;
            co_return;
        }
        state->channel = *channel;
        while (true) {
            auto message = co_await (*channel)->receive();
            if (!message) {
                state->ended = message.error().message;
                co_return;
            }
            chassis::Envelope reply;
            reply.set_request(message->request());
            if (message->has_ping()) reply.mutable_pong();
            if (message->has_query()) *reply.mutable_query_reply() = state->holds;
            if (message->has_purge()) reply.mutable_purge_reply();
            if (reply.body_case() != chassis::Envelope::BODY_NOT_SET && !state->hangs)
                (void)(*channel)->send(reply);
            state->received.push_back(*message);
        }
    }

    std::shared_ptr<State> state_ = std::make_shared<State>();
};

class KeyraildBench : public ::testing::Test {
  protected:
    static constexpr uint16_t kBlades = 2;

    KeyraildBench() : chassis(kBlades + 1), run_dir(chassis.directory() / "run"), port(free_port()) {
        ::signal(SIGPIPE, SIG_IGN);
        std::filesystem::create_directories(run_dir);
        write_config(good_config());
        dataplane = std::make_unique<FakeDataplane>(run_dir / "dp.sock");
    }
    ~KeyraildBench() override {
        agents.clear();
        if (daemon && HasFailure()) std::cerr << daemon->log();
        daemon.reset();
        until([] { return false; }, 20);
    }

    [[nodiscard]] std::string good_config(uint16_t blades = kBlades) const {
        const std::string pki = (chassis.directory() / "pki").string();
        std::string text = fmt::format(
            "[chassis]\nname = \"test\"\nrun_dir = \"{}\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:{}\"\n"
            "ca = \"{}/ca.pem\"\ncertificate = \"{}/control.pem\"\nkey = \"{}/control.key\"\n",
            run_dir.string(), (chassis.directory() / "state").string(), port, pki, pki, pki);
        std::string ids;
        for (const BladeId id : testing::blade_ids(blades)) {
            text += fmt::format(
                "[[blade]]\nid = {}\nname = \"b{}\"\naddress = \"127.0.1.{}\"\nagent = \"{}:7401\"\n", id, id,
                id, agent_host(id));
            ids += fmt::format("{}{}", id == 1 ? "" : ", ", id);
        }
        return text + fmt::format("[[pool]]\nname = \"web\"\nblades = [{}]\n", ids) +
               "[[service]]\nname = \"www\"\naddresses = [\"198.51.100.1\"]\nport = 443\npool = \"web\"\n";
    }
    /// Nobody listens there, but somebody answers: loopback refuses at once.
    [[nodiscard]] virtual std::string agent_host(BladeId id) const { return fmt::format("127.0.1.{}", id); }

    [[nodiscard]] std::filesystem::path config_file() const { return chassis.directory() / "keyraild.toml"; }
    void write_config(const std::string& text) const { std::ofstream(config_file()) << text; }

    bool until(const std::function<bool()>& condition, int milliseconds = 5000) {
        return run_until(
            io,
            [&] {
                if (dataplane) dataplane->poll();
                return condition();
            },
            milliseconds);
    }
    /// Without this the test makes no sense: ends it.
    void require(const std::function<bool()>& condition, const char* what) {
        if (!until(condition)) throw std::runtime_error(std::string("not in time: ") + what);
    }
    void start() {
        daemon = std::make_unique<Process>(
            std::vector<std::string>{std::getenv("KR_KEYRAILD"), "--config", config_file().string()},
            chassis.directory() / "log");
        starts_++;  // its command socket is there before it listens for agents; the log is of all starts
        require([&] { return times_ready() == starts_; }, "keyraild is ready");
    }
    void kill_daemon() {
        daemon->signal(SIGKILL);
        EXPECT_EQ(daemon->wait(), 128 + SIGKILL);
    }
    void connect_agent(BladeId id) {
        agents.erase(id);
        agents.emplace(id, std::make_unique<FakeAgent>(io, chassis.tls(fmt::format("blade-{}", id)), port));
        require([&] { return !agents[id]->of(chassis::Envelope::kKeys).empty(); }, "an agent gets its keys");
    }
    /// Everything runs and both blades are up.
    void start_whole() {
        start();
        for (const BladeId id : testing::blade_ids(kBlades)) connect_agent(id);
        for (auto& [id, agent] : agents) agent->health(true);
        require(
            [&] {
                return dataplane->intake(1) == link::INTAKE_OPEN && dataplane->intake(2) == link::INTAKE_OPEN;
            },
            "both blades are up");
    }

    struct Answer {
        int status = -1;
        std::string text;
        nlohmann::json json;
    };
    /// The real command, while the agents and the dataplane go on answering.
    Answer keyrail(const std::vector<std::string>& words) {
        Answer answer = keyrail_for_people(words, {"--json"});
        answer.json = nlohmann::json::parse(answer.text, nullptr, false);
        return answer;
    }
    Answer keyrail_for_people(const std::vector<std::string>& words, std::vector<std::string> options = {}) {
        std::vector<std::string> all = {std::getenv("KR_KEYRAIL"), "--socket",
                                        (run_dir / "keyraild.sock").string()};
        all.insert(all.end(), options.begin(), options.end());
        all.insert(all.end(), words.begin(), words.end());
        const auto file = chassis.directory() / "answer";
        std::filesystem::remove(file);
        Process command(all, file);
        EXPECT_TRUE(until([&] { return command.ended(); }, 10'000));
        return {command.wait(), command.log(), {}};
    }

    void request_move(uint64_t id, const std::string& name, uint32_t from = 1, uint32_t to = 2) {
        link::FromDataplane message;
        link::MoveRequest& request = *message.mutable_move_request();
        request.set_move_id(id);
        request.set_name(name);
        request.set_from(from);
        request.set_to(to);
        request.set_service("www");
        request.set_tls_version(number_of(TlsVersion::tls13));
        request.set_budget_us(20'000);
        dataplane->send(message);
    }
    /// A session that was moved there; what proves it.
    FakeAgent::Receipts bring(const std::string& name, BladeId from, BladeId to) {
        const uint64_t id = 1'000'000 + ++brought_;
        const size_t orders = agents[from]->of(chassis::Envelope::kOrder).size();
        request_move(id, name, from, to);
        require([&] { return agents[from]->of(chassis::Envelope::kOrder).size() > orders; }, "an order");
        require([&] { return agents[to]->receipts().contains(name); }, "its announcement");
        agents[to]->done(agents[from]->of(chassis::Envelope::kOrder).back().order().order_id(),
                         chassis::MOVED, in_an_hour_ms());
        require([&] { return keyrail({"session", "where", hex(name)}).json["holder"] == to; }, "it is there");
        return agents[to]->receipts();
    }
    std::vector<link::MoveOutcome> outcomes() const {
        std::vector<link::MoveOutcome> found;
        for (const auto& message : dataplane->of(link::ToDataplane::kMoveOutcome))
            found.push_back(message.move_outcome());
        return found;
    }
    /// A name as blade `home` makes it, with the key that its agent was given.
    std::string name_of(BladeId home, uint8_t number = 0) {
        const chassis::NameKey key =
            agents.begin()->second->of(chassis::Envelope::kKeys)[0].keys().name_keys(0);
        return bytes_of(
            name_at(std::span(reinterpret_cast<const uint8_t*>(key.key().data()), key.key().size()),
                    static_cast<uint8_t>(key.generation()), home, number));
    }
    static std::string hex(const std::string& bytes) {
        std::string text;
        for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(byte));
        return text;
    }
    static uint64_t in_an_hour_ms() {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()) +
               3'600'000;
    }

    asio::io_context io;
    TestChassis chassis;
    std::filesystem::path run_dir;
    uint16_t port;
    std::unique_ptr<FakeDataplane> dataplane;
    std::unique_ptr<Process> daemon;
    std::map<BladeId, std::unique_ptr<FakeAgent>> agents;

  private:
    [[nodiscard]] int times_ready() const {
        const std::string log = daemon->log(), ready = " is ready";
        int times = 0;
        for (size_t at = log.find(ready); at != std::string::npos; at = log.find(ready, at + 1)) times++;
        return times;
    }

    int starts_ = 0;
    uint64_t brought_ = 0;
};

}  // namespace keyrail::testing
