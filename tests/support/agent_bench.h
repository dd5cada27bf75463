// SPDX-License-Identifier: Apache-2.0
// Agents over real TLS sockets, with a keyraild that is ours. (The accept program has its own test.)
#pragma once

#include "control/agent/agent.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <set>

#include "control/agent/name_keys.h"
#include "control/agent/receiver.h"
#include "control/store/store.h"
#include "tests/support/agent_names.h"
#include "tests/support/blade_ids.h"
#include "tests/support/fake_control.h"
#include "tests/support/session_names.h"
#include "tests/support/store_memory.h"
#include "tests/support/temp_store.h"

namespace keyrail::testing {

using chassis::Envelope;

inline constexpr uint16_t kServicePort = 45443;
inline const std::string kReceipt(16, 'r');

class AgentBench : public ::testing::Test {
  protected:
    static constexpr uint16_t kBlades = 3;

    AgentBench() : chassis(kBlades), control(std::make_unique<FakeEnd>(io, chassis.tls("control"))) {
        control_port = control->address().port;
        for (const BladeId id : testing::blade_ids(kBlades)) listen_port[id] = testing::free_port();
    }
    ~AgentBench() override {
        agents.clear();
        control.reset();
        run_until(io, [] { return false; }, 20);  // what is left of the coroutines ends
    }

    [[nodiscard]] HostPort local(uint16_t port) const { return {*parse_ip("127.0.0.1"), port}; }
    [[nodiscard]] std::string store_path(BladeId id) const {
        return (chassis.directory() / ("store" + std::to_string(id))).string();
    }

    void start(BladeId id) {
        AgentConfig config;
        config.id = id;
        config.control = local(control_port);
        config.listen = local(listen_port[id]);
        config.interface = "lo";
        config.tls = chassis.files("blade-" + std::to_string(id));
        config.store = store_path(id);
        config.store_bytes = store_bytes;
        config.accept_program = false;
        auto agent = Agent::start(io, config);
        ASSERT_TRUE(agent) << agent.error().message;
        agents[id] = std::move(*agent);
        stores.insert_or_assign(id, std::make_unique<Store>(std::move(*Store::open(store_path(id)))));
    }

    Envelope keys_for(BladeId id) {
        Envelope message;
        auto& keys = *message.mutable_keys();
        keys.set_blade_id(id);
        auto& name_key = *keys.add_name_keys();
        name_key.set_key(std::string(kNameKey.begin(), kNameKey.end()));
        name_key.set_current(true);
        auto& service = *keys.add_services();
        service.set_name("www");
        service.add_addresses("127.0.0.1");
        service.set_port(kServicePort);
        service.set_session_lifetime_s(1234);
        for (uint16_t peer = 1; peer <= kBlades; peer++) {
            auto& entry = *keys.add_peers();
            entry.set_blade_id(peer);
            entry.set_address(local(listen_port[peer]).text());
        }
        return message;
    }

    /// Connected, with keys, and with a health report.
    void ready(std::initializer_list<BladeId> ids) {
        for (const BladeId id : ids) {
            ASSERT_TRUE(run_until(io, [&] { return !control->of(id, Envelope::kAgentHello).empty(); }));
            ASSERT_TRUE(control->channels[id]->send(keys_for(id)));
        }
        for (const BladeId id : ids)
            ASSERT_TRUE(run_until(io, [&] { return !control->of(id, Envelope::kHealth).empty(); }));
    }

    void put(BladeId blade, const SessionName& name, uint16_t port = 0, const char* service = "www") {
        SessionRecord record;
        fill(record, 12, 700);
        record.name = name;
        record.port = port;
        record.service = ServiceId::of(service);
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3600'000;
        ASSERT_EQ(stores[blade]->put(record), Store::Put::kStored);
    }

    /// Both halves, as keyraild sends them.
    void order(uint64_t id, const SessionName& name, BladeId from, BladeId to, uint32_t budget_us = 500'000,
               const Arrival& arrival = {}) {
        Envelope message;
        auto& body = *message.mutable_order();
        body.set_order_id(id);
        body.set_name(bytes_of(name));
        body.set_to(to);
        body.set_budget_us(budget_us);
        body.add_services("www");
        ASSERT_TRUE(control->channels[from]->send(message));
        expect(id, name, from, to, arrival);
    }
    void expect(uint64_t id, const SessionName& name, BladeId from, BladeId to, const Arrival& arrival = {}) {
        if (!control->channels.contains(to)) return;
        Envelope message;
        auto& body = *message.mutable_expect();
        body.set_order_id(id);
        body.set_name(bytes_of(name));
        body.set_from(from);
        body.add_services("www");
        body.set_receipt(kReceipt);
        body.mutable_arrival()->set_move_id(arrival.move_id);
        body.mutable_arrival()->set_token(arrival.token);
        body.mutable_arrival()->set_port(arrival.port);
        ASSERT_TRUE(control->channels[to]->send(message));
    }
    void purge_all(BladeId blade, uint64_t number) {
        Envelope message;
        message.set_request(77);
        message.mutable_purge()->set_all(true);
        message.mutable_purge()->set_number(number);
        const size_t before = control->of(blade, Envelope::kPurgeReply).size();
        ASSERT_TRUE(control->channels[blade]->send(message));
        ASSERT_TRUE(run_until(io, [&] { return control->of(blade, Envelope::kPurgeReply).size() > before; }));
    }

    /// How an order ended, as this blade says; the deadline is longer than the agents' own.
    chassis::MoveDone done(BladeId blade, uint64_t id) {
        chassis::MoveDone found;
        EXPECT_TRUE(run_until(io,
                              [&] {
                                  for (const Envelope& message : control->of(blade, Envelope::kMoveDone)) {
                                      if (message.move_done().order_id() != id) continue;
                                      found = message.move_done();
                                      return true;
                                  }
                                  return false;
                              }))
            << "blade " << blade << " says nothing about order " << id;
        return found;
    }

    uint64_t store_bytes = 4 << 20;
    asio::io_context io{1};
    TestChassis chassis;
    std::unique_ptr<FakeEnd> control;
    uint16_t control_port = 0;
    std::map<uint16_t, uint16_t> listen_port;
    std::map<BladeId, std::unique_ptr<Agent>> agents;
    std::map<BladeId, std::unique_ptr<Store>> stores;
};

}  // namespace keyrail::testing
