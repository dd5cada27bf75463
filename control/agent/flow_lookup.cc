// SPDX-License-Identifier: Apache-2.0
#include "control/agent/flow_lookup.h"

#include <netinet/in.h>

#include <cstring>

#include "chassis.pb.h"

namespace keyrail {

using chassis::FlowsFound;
using Presence = SockDiag::Presence;

namespace {

FlowsFound::Presence as_message(Presence presence) {
    switch (presence) {
        case Presence::absent:
            return FlowsFound::ABSENT;
        case Presence::present:
            return FlowsFound::PRESENT;
        case Presence::time_wait:
            return FlowsFound::TIME_WAIT;
        case Presence::unknown:
            break;
    }
    return FlowsFound::UNKNOWN;
}

/// Both addresses are of one family: checked.
HostPort host_port(std::string_view bytes, uint32_t port) {
    HostPort at{{.family = bytes.size() == 4 ? uint8_t{AF_INET} : uint8_t{AF_INET6}},
                static_cast<uint16_t>(port)};
    std::memcpy(at.address.bytes.data(), bytes.data(), bytes.size());
    return at;
}

}  // namespace

bool FlowLookup::may_look(Time now) {
    if (now - second_ >= std::chrono::seconds(1)) {
        second_ = now;
        looked_ = 0;
    }
    return looked_++ < kMaxASecond;
}

SockDiag::Found FlowLookup::find(std::string_view client, uint32_t client_port, std::string_view address,
                                 uint32_t port) {
    const bool sizes = (client.size() == 4 || client.size() == 16) && client.size() == address.size();
    if (!sizes || client_port > UINT16_MAX || port > UINT16_MAX) return {};
    if (!sockets_) {
        auto opened = SockDiag::open();
        if (!opened) return {};
        sockets_.emplace(std::move(*opened));
    }
    return sockets_->find(host_port(address, port), host_port(client, client_port));
}

FlowsFound FlowLookup::look(const chassis::FindFlows& question, Time now) {
    FlowsFound found;
    for (const auto& flow : question.flows()) {
        if (found.answers_size() == kMax) break;
        auto& answer = *found.add_answers();
        answer.set_id(flow.id());
        if (!may_look(now)) {
            answer.set_presence(FlowsFound::UNKNOWN);
            continue;
        }
        const SockDiag::Found known = find(flow.client(), flow.client_port(), flow.address(), flow.port());
        answer.set_presence(as_message(known.presence));
        answer.set_heard_ms(known.heard_ms);
    }
    return found;
}

}  // namespace keyrail
