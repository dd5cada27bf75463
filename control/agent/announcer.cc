// SPDX-License-Identifier: Apache-2.0
#include "control/agent/announcer.h"

#include <utility>

#include "control/agent/kernel_checks.h"

#ifndef KEYRAIL_VERSION
#define KEYRAIL_VERSION "unknown"
#endif

namespace keyrail {

namespace {
constexpr size_t kAnnounceBatch = 2000;  // about 100 KB
}

chassis::Envelope Announcer::hello() const {
    chassis::Envelope message;
    chassis::AgentHello& hello = *message.mutable_agent_hello();
    hello.set_version(KEYRAIL_VERSION);
    hello.set_kernel(kernel_release());
    hello.set_accept_program(late_binding_.works());
    hello.set_agent_address(config_.listen.text());
    for (const std::string& problem : late_binding_.problems()) hello.add_problems(problem);
    return message;
}

chassis::Envelope Announcer::next(Walk& walk) const {
    chassis::Envelope message;
    message.mutable_announce()->set_reset(!std::exchange(walk.begun, true));
    for (const SessionInfo& info : store_.list(walk.cursor, Store::Which::kMovedIn, kAnnounceBatch)) {
        auto& held = *message.mutable_announce()->add_held();
        held.set_name(info.name.data(), info.name.size());
        held.set_expires_ms(info.expires_ms);
        held.set_receipt(info.receipt.data(), info.receipt.size());
        held.set_service_id(info.service.number());
    }
    message.mutable_announce()->set_done(walk.done());
    return message;
}

}  // namespace keyrail
