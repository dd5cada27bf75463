// SPDX-License-Identifier: Apache-2.0
// The real keyraild with a repository, the real keyrail, and real agents in this process. Only the dataplane
// and the TLS servers are played.
#pragma once

#include "control/agent/agent.h"
#include "control/hooks/session_names.h"
#include "control/store/store.h"
#include "tests/support/keyraild_bench.h"
#include "tests/support/temp_store.h"

namespace keyrail::testing {

class RestoreBench : public KeyraildBench {
  protected:
    RestoreBench() { write_config(good_config() + "repository = \"lmdb\"\n"); }
    ~RestoreBench() override { real_agents.clear(); }

    /// Blade 1's machine can die: nobody answers at its agent's address (RFC 5737).
    [[nodiscard]] std::string agent_host(BladeId id) const override {
        return id == 1 ? "192.0.2.77" : fmt::format("127.0.1.{}", id);
    }
    [[nodiscard]] std::string store_path(BladeId id) const {
        return (chassis.directory() / fmt::format("store{}", id)).string();
    }
    void start_agent(BladeId id) {
        AgentConfig config;
        config.id = id;
        config.control = {*parse_ip("127.0.0.1"), port};
        config.listen = {*parse_ip("127.0.0.1"), free_port()};
        config.interface = "lo";
        config.tls = chassis.files(fmt::format("blade-{}", id));
        config.store = store_path(id);
        config.store_bytes = 2 << 20;
        config.accept_program = false;
        auto agent = Agent::start(io, config);
        if (!agent) throw std::runtime_error(agent.error().message);
        real_agents[id] = std::move(*agent);
        stores.insert_or_assign(id, std::make_unique<Store>(std::move(*Store::open(store_path(id)))));
    }
    void start_all() {
        start();
        start_agent(1);
        start_agent(2);
        require([&] { return connected() == 2; }, "the agents are connected");
    }
    size_t connected() { return report("status")["agents"].get<size_t>(); }
    nlohmann::json report(const std::string& what) { return keyrail({what}).json; }
    uint64_t checkpoints(const char* figure) {
        return report("stats")["checkpoints"][figure].get<uint64_t>();
    }
    uint64_t repository(const char* figure, const std::string& kind = "lmdb") {
        return report("stats")["checkpoints"]["repositories"][kind][figure].get<uint64_t>();
    }

    SessionName new_name(BladeId blade) {
        SessionName name{};
        require(
            [&] {
                const Store& store = *stores[blade];
                return hooks::make_session_name(store, name) && hooks::is_ours(store, name);
            },
            "a name key");
        return name;
    }
    void fill_session(SessionRecord& record, const SessionName& name, bool single_use = true,
                      const std::string& service = "www") {
        fill(record, 13, 170);
        record.name = name;
        record.tls_version = single_use ? TlsVersion::tls13 : TlsVersion::tls12;
        record.single_use = single_use;
        record.service = ServiceId::of(service);
        record.early_data_spent = false;
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3'600'000;
    }
    /// As a server stores it; back when it is in the repository, too.
    SessionName put_session(BladeId blade, bool single_use = true, const std::string& kind = "lmdb",
                            const std::string& service = "www") {
        const SessionName name = new_name(blade);
        SessionRecord record;
        fill_session(record, name, single_use, service);
        const uint64_t before = repository("stored", kind);
        EXPECT_EQ(stores[blade]->put(record), Store::Put::kStored);
        require([&] { return repository("stored", kind) > before && repository("waiting", kind) == 0; },
                "the session is in the repository");
        return name;
    }
    /// Until the agents have nothing more to tell.
    void settle() {
        require(
            [&] {
                const uint64_t told = checkpoints("reported");
                until([] { return false; }, 300);
                return checkpoints("reported") == told;
            },
            "the agents have told everything");
    }
    /// Asks until it is answered with something else than "unreachable", which it is until the holder is seen
    /// to be dead.
    link::MoveResult move(const SessionName& name, uint32_t from, uint32_t to) {
        for (int i = 0; i < 100; i++) {
            const uint64_t id = ++last_move;
            request_move(id, std::string(name.begin(), name.end()), from, to);
            std::optional<link::MoveResult> result;
            require(
                [&] {
                    for (const auto& outcome : outcomes())
                        if (outcome.move_id() == id) result = outcome.result();
                    return result.has_value();
                },
                "an answer");
            if (*result != link::UNREACHABLE) return *result;
            until([] { return false; }, 50);
        }
        return link::UNREACHABLE;
    }
    bool gone_from(BladeId blade, const SessionName& name) {
        return until([&] { return !stores[blade]->contains(name); });
    }

    std::map<BladeId, std::unique_ptr<Agent>> real_agents;
    std::map<BladeId, std::unique_ptr<Store>> stores;
    uint64_t last_move = 0;
};

}  // namespace keyrail::testing
