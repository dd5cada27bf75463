// SPDX-License-Identifier: Apache-2.0
// Any frame of the backplane: what an agent makes of a record from another blade, and of what keyraild
// assigns to it; what keyraild makes of what an agent says of itself.
#include "chassis.pb.h"
#include "control/agent/assignment.h"
#include "control/agent/records.h"
#include "control/daemon/blades/blades.h"
#include "control/daemon/blades/flow_finder.h"
#include "link.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    chassis::Envelope envelope;
    if (!envelope.ParseFromArray(data, static_cast<int>(size))) return 0;
    if (envelope.has_transfer()) {
        constexpr uint64_t kNow = 1'700'000'000'000;
        SessionRecord record;
        ServedServices served;
        served.add("www", 443);
        const auto taken = from_message(envelope.transfer().record(), served, kNow, record);
        if (!taken && taken.error().message.empty()) __builtin_trap();
        if (taken && record.expires_ms <= kNow) __builtin_trap();  // a dead session must not come in
    }
    if (envelope.has_keys()) {
        const auto assigned = Assignment::from(envelope.keys(), 1);
        if (!assigned && assigned.error().message.empty()) __builtin_trap();
    }
    if (envelope.has_agent_hello() || envelope.has_health()) {
        Config config;
        config.blades[1].id = 1;
        config.services.resize(1);
        config.services[0].port = 443;
        config.services[0].blades = {1};
        Blades blades("/nonexistent");
        blades.configure(config, 0);
        blades.connected(1);
        blades.hello(1, envelope.agent_hello());
        blades.health(1, envelope.health());
        const Blade& blade = blades.all().at(1);
        if (blade.intake() == BladeIntake::open && !blade.serves(443)) __builtin_trap();
        if (blade.listening.size() > 1 || blade.addresses.size() > 1 || blade.accepted.size() > 32 ||
            blade.problems.size() > 32)
            __builtin_trap();  // bounded by us, not by it
    }
    if (envelope.has_flows_found()) {
        int answers = 0;
        FlowFinder finder({[](uint16_t, const chassis::Envelope&) { return true; },
                           [&](const link::FlowAnswer&) { answers++; }});
        link::FlowAsk ask;
        ask.set_client("1234");
        ask.set_address("5678");
        ask.set_client_port(1);
        ask.set_port(443);
        if (!finder.ask(ask, {1, 2}, {}, {})) __builtin_trap();
        finder.found(1, envelope.flows_found());
        finder.found(2, envelope.flows_found());
        if (answers > 1) __builtin_trap();  // one question, one answer
    }
    return 0;
}
