// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/draining.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include "chassis.pb.h"
#include "control/daemon/moves/session_name_hash.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

Draining::Draining(asio::any_io_executor executor, const Blades& blades, Agents& agents, Moves& moves)
    : executor_(std::move(executor)), blades_(blades), agents_(agents), moves_(moves), timer_(executor_) {}

void Draining::sync() {
    for (const auto& [id, blade] : blades_.all()) {
        if (!blade.draining)
            drains_->stop(id);
        else
            drains_->start(id, blade.drain.rate, std::chrono::steady_clock::now());
    }
    if (!timer_.running()) tick();
}

void Draining::stop() { timer_.cancel(); }

void Draining::tick() {
    if (!drains_->active()) return;
    drains_->tick(std::chrono::steady_clock::now());
    timer_.after(drains_->pause(), [this] { tick(); });
}

bool Draining::list(BladeId blade, uint64_t cursor, uint32_t most, bool lately) {
    if (!agents_.connected(blade)) return false;
    asio::co_spawn(executor_, list(drains_, agents_, blade, cursor, most, lately), asio::detached);
    return true;
}

asio::awaitable<void> Draining::list(std::weak_ptr<Drains> weak, Agents& agents, BladeId blade,
                                     uint64_t cursor, uint32_t most, bool lately) {
    chassis::Envelope question;
    question.mutable_list()->set_cursor(cursor);
    question.mutable_list()->set_most(most);
    question.mutable_list()->set_lately(lately);
    const auto answer = co_await agents.ask(blade, std::move(question), Drains::kPatience);
    const auto drains = weak.lock();
    if (!drains || !answer || !answer->has_list_reply()) co_return;
    std::deque<Drains::Listed> sessions;
    for (const auto& listed : answer->list_reply().sessions())
        if (const auto name = name_from(listed.name())) sessions.push_back({*name, listed.service()});
    drains->listed(blade, answer->list_reply().cursor(), answer->list_reply().done(), std::move(sessions));
}

/// Of two blades that the name picks among those that may have the session, the one with less to do. That
/// spreads them evenly, and no blade gets them all because it was idle a moment ago.
std::optional<BladeId> Draining::target(BladeId from, const SessionName& name, const std::string& service) {
    std::vector<BladeId> able;
    for (const auto& [id, blade] : blades_.all())
        if (blade.intake() == BladeIntake::open && agents_.connected(id) && !blade.without_hooks(service) &&
            moves_.may_move(from, id, service) && id != from)
            able.push_back(id);
    if (able.empty()) return std::nullopt;
    const uint64_t hash = SessionNameHash{}(name);
    const BladeId first = able[static_cast<uint32_t>(hash) % able.size()];
    const BladeId second = able[static_cast<uint32_t>(hash >> 32) % able.size()];
    return blades_.all().at(second).load < blades_.all().at(first).load ? second : first;
}

void Draining::move(BladeId from, BladeId to, const SessionName& name, const std::string& service) {
    moves_.drain(from, to, name, service, std::chrono::steady_clock::now());
}

}  // namespace keyrail
