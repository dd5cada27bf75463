// SPDX-License-Identifier: Apache-2.0
// Two blades and two services, and what their agents say of them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "chassis.pb.h"
#include "control/daemon/blades/blades.h"
#include "control/daemon/core/snapshot.h"
#include "link.pb.h"

namespace keyrail::test {

inline constexpr uint64_t kNow = 1'700'000'000'000;

class BladesTest : public ::testing::Test {
  protected:
    BladesTest() {
        for (const BladeId id : {BladeId{1}, BladeId{2}})
            config.blades[id] = {id, fmt::format("b{}", id), *parse_ip(fmt::format("10.77.0.{}", 10 + id)),
                                 *parse_host_port(fmt::format("10.77.0.{}:7401", 10 + id))};
        config.services.push_back(service("www", 443));
        config.services.push_back(service("mail", 993));
        blades.configure(config, kNow);
    }
    ~BladesTest() override { std::filesystem::remove_all(dir); }

    static ServiceConfig service(const char* name, uint16_t port) {
        ServiceConfig service;
        service.name = name;
        service.port = port;
        service.addresses = {*parse_ip("198.51.100.1")};
        service.blades = {1, 2};
        return service;
    }
    bool report(BladeId id, bool www, bool mail, uint32_t load = 0) {
        chassis::Health health;
        health.set_load(load);
        for (const auto& [port, listening] : {std::pair{443u, www}, {993u, mail}}) {
            health.add_servers()->set_port(port);
            health.mutable_servers()->rbegin()->set_listening(listening);
        }
        return blades.health(id, health);
    }
    BladeIntake intake(BladeId id) { return blades.find(id)->intake(); }

    static std::filesystem::path make_directory() {
        char name[] = "/tmp/keyrail-blades-XXXXXX";
        return mkdtemp(name);
    }

    std::filesystem::path dir = make_directory();
    Config config;
    Blades blades{dir / "blades.json"};
    Economics economics;
};

}  // namespace keyrail::test
