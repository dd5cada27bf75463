// SPDX-License-Identifier: Apache-2.0
// Daemon: what agents say, and which part hears it.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "chassis.pb.h"
#include "control/daemon/core/daemon.h"
#include "control/daemon/core/snapshot.h"
#include "control/protocol/event_loop.h"
#include "control/repository/pool_key.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;

AgentEvents Daemon::agent_events() {
    AgentEvents events;
    events.refusal = [this](BladeId blade, const CertificateInfo& shown) { return refusal(blade, shown); };
    events.certificate = [this](const Channel& from, const chassis::CertificateRequest& request) {
        return certify(from, request);
    };
    events.connected = [this](BladeId blade) {
        blades_.connected(blade);
        const std::string certificate = agents_.certificate(blade);
        members_[blade] = {certificate, recipient_of(certificate)};
        send_keys(blade);
        purging_.again();
    };
    events.lost = [this](BladeId blade) {
        blades_.disconnected(blade);
        members_.erase(blade);
        purging_.lost(blade);
        moves_.agent_lost(blade);
        checkpoints_.agent_lost(blade);
        flows_.lost(blade);
        continuance_.forget(blade);
        changed();
    };
    events.turned_away = [this](BladeId blade, const std::string& who, const std::string& why) {
        events_.add("blade.not_let_in", Events::kNobody, fmt::format("{} is not let in: {}", who, why),
                    {blade});
    };
    events.message = [this](BladeId blade, const chassis::Envelope& message) { on_message(blade, message); };
    events.mute = [this](BladeId blade, bool mute) {
        if (Blade* const known = blades_.find(blade)) known->mute = mute;
    };
    events.silent = [this](BladeId blade, bool silent) {
        if (blades_.silent(blade, silent)) changed();
    };
    events.gone = [this](BladeId blade, bool gone) {
        if (blades_.gone(blade, gone)) changed();
    };
    return events;
}

/// Its words are kept, and logged: no more of them than make sense.
void Daemon::hello(BladeId blade, chassis::AgentHello hello) {
    constexpr size_t kMaxText = 300;
    constexpr int kMaxProblems = 32;
    hello.mutable_version()->resize(std::min(hello.version().size(), kMaxText));
    hello.mutable_kernel()->resize(std::min(hello.kernel().size(), kMaxText));
    if (hello.problems_size() > kMaxProblems)
        hello.mutable_problems()->DeleteSubrange(kMaxProblems, hello.problems_size() - kMaxProblems);
    for (std::string& problem : *hello.mutable_problems()) {
        problem.resize(std::min(problem.size(), kMaxText));
        spdlog::warn("agents: blade {}: {}", blade, problem);
    }
    if (blades_.hello(blade, hello)) changed();
}

void Daemon::on_message(BladeId blade, const chassis::Envelope& message) {
    switch (message.body_case()) {
        case chassis::Envelope::kAgentHello:
            hello(blade, message.agent_hello());
            break;
        case chassis::Envelope::kHealth:
            if (blades_.health(blade, message.health())) changed();
            if (economics_.health(blade, message.health(), std::chrono::steady_clock::now())) changed();
            break;
        case chassis::Envelope::kAnnounce:
            moves_.announce(blade, message.announce());
            break;
        case chassis::Envelope::kMoveDone:
            moves_.done(blade, message.move_done(), Clock::now());
            if (!moves_.orders().few_wait()) nothing_soon();
            break;
        case chassis::Envelope::kPull:
            moves_.pull(blade, message.request(), message.pull(), Clock::now());
            break;
        case chassis::Envelope::kCheckpoint:
            checkpoints_.checkpoint(blade, message.checkpoint(), message.request());
            break;
        case chassis::Envelope::kTransfersRefused:
            moves_.refused(blade, message.transfers_refused());
            break;
        case chassis::Envelope::kFlowsFound:
            flows_.found(blade, message.flows_found());
            break;
        case chassis::Envelope::kPoolKeys:
            repositories_.pool_keys(blade, message.pool_keys(), members_);
            break;
        default:
            spdlog::debug("agents: blade {} sent a message that is not for control", blade);
    }
}

void Daemon::send_keys(BladeId blade) {
    chassis::Envelope envelope;
    *envelope.mutable_keys() = make_keys(*config_, secrets_, blade);
    envelope.mutable_keys()->set_version(keys_version_);
    if (auto sent = agents_.send(blade, std::move(envelope)); !sent)
        spdlog::warn("agents: {}", sent.error().message);
}

}  // namespace keyrail
