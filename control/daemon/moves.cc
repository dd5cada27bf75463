// SPDX-License-Identifier: Apache-2.0
// Moves: wishes, orders, outcomes.
#include "control/daemon/moves.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "chassis.pb.h"
#include "link.pb.h"

namespace keyrail {

using std::chrono::microseconds;
using std::chrono::steady_clock;

namespace {

constexpr size_t kEntriesPerMessage = 1000;  // about 50 KB
constexpr uint64_t kDefaultLifetimeMs = 7'200'000;

std::optional<SessionName> name_from(const std::string& bytes) {
    if (bytes.size() != kSessionNameSize) return std::nullopt;
    SessionName name;
    std::ranges::copy(bytes, name.begin());
    return name;
}

std::string bytes_of(const SessionName& name) { return {name.begin(), name.end()}; }

void fill(link::MovedEntry& entry, const MovedSession& session) {
    entry.set_name(bytes_of(session.name));
    entry.set_holder(session.holder);
    entry.set_expires_unix_s(session.expires_ms / 1000);
}

}  // namespace

uint64_t unix_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

Moves::Moves(const Config& config, const Secrets& secrets, Agents& agents, DataplaneLink& dataplane,
             LastResort& last_resort)
    : config_(config),
      secrets_(secrets),
      agents_(agents),
      dataplane_(dataplane),
      last_resort_(last_resort),
      orders_(unix_ms() * 1000) {}

std::optional<uint16_t> Moves::holder(const SessionName& name) const {
    if (const auto moved = directory_.find(name, unix_ms())) return moved->holder;
    return secrets_.home(name);
}

bool Moves::may_hold(uint16_t blade, const std::string& service) const {
    const auto found = std::ranges::find(config_.services, service, &ServiceConfig::name);
    return found != config_.services.end() && found->has_member(blade);
}

Moves::Verdict Moves::judge(const MoveWish& wish, const std::string& service) const {
    if (wish.from == wish.to || !config_.blades.contains(wish.from) || !may_hold(wish.to, service))
        return {false, MoveResult::refused};
    const bool has_source =
        last_resort_.dead(wish.from) ? last_resort_.keeps(service) : agents_.connected(wish.from);
    if (orders_.full() || !has_source || !agents_.connected(wish.to)) return {false, MoveResult::unreachable};
    return {true, {}};
}

void Moves::request(const link::MoveRequest& request) {
    const auto name = name_from(request.name());
    if (!name || request.from() > kBladeIdMax || request.to() > kBladeIdMax)
        return answer(request.move_id(), MoveResult::refused, nullptr);
    MoveWish wish{request.move_id(),
                  *name,
                  static_cast<uint16_t>(request.from()),
                  static_cast<uint16_t>(request.to()),
                  microseconds(request.budget_us()),
                  request.service()};
    // The dataplane's table may lag behind: the directory knows better where the session is.
    if (const auto moved = directory_.find(*name, unix_ms())) {
        if (moved->holder == wish.to) return answer(wish.move_id, MoveResult::moved, &*moved);
        wish.from = moved->holder;
    }
    const Verdict verdict = judge(wish, request.service());
    if (!verdict.order) {
        orders_.count_refusal(verdict.result);
        return answer(wish.move_id, verdict.result, nullptr);
    }
    const auto order = orders_.ask(wish, steady_clock::now());
    if (order && !(last_resort_.dead(order->from) && restore(order->id))) give_order(*order);
}

void Moves::give_order(const MoveOrder& order) {
    chassis::Envelope envelope;
    chassis::Order& message = *envelope.mutable_order();
    message.set_order_id(order.id);
    message.set_name(bytes_of(order.name));
    message.set_to(order.to);
    message.set_budget_us(static_cast<uint32_t>(order.budget.count()));
    if (const auto sent = agents_.send(order.from, std::move(envelope)); !sent) {
        spdlog::warn("moves: {}", sent.error().message);
        if (const auto ended =
                orders_.done(order.id, order.from, MoveResult::unreachable, steady_clock::now()))
            finished(*ended, 0);
    }
}

void Moves::answer(uint64_t move_id, MoveResult result, const MovedSession* now) {
    link::ToDataplane message;
    link::MoveOutcome& outcome = *message.mutable_move_outcome();
    outcome.set_move_id(move_id);
    outcome.set_result(static_cast<link::MoveResult>(result));
    if (now) fill(*outcome.mutable_now(), *now);
    dataplane_.send(std::move(message));
}

void Moves::finished(const FinishedMove& move, uint64_t expires_ms) {
    if (move.result != MoveResult::moved) {
        for (const uint64_t waiter : move.waiters) answer(waiter, move.result, nullptr);
        // Where it was it is no more: whoever looks for it shall try its home, then make a full handshake.
        if (move.result == MoveResult::not_found || move.result == MoveResult::lost)
            directory_.erase(move.order.name);
        return;
    }
    if (expires_ms == 0) expires_ms = unix_ms() + kDefaultLifetimeMs;
    const MovedSession now{move.order.name, move.order.to, expires_ms};
    if (secrets_.home(now.name) == now.holder)
        directory_.erase(now.name);
    else
        directory_.set(now);
    for (const uint64_t waiter : move.waiters) answer(waiter, MoveResult::moved, &now);
    if (move.waiters.empty()) send_entries({now}, false);  // those who waited have been told otherwise
}

bool Moves::restore(uint64_t order_id) {
    const MoveOrder* const order = orders_.find(order_id);
    if (order == nullptr || order->from == order->to || !last_resort_.keeps(order->service)) return false;
    orders_.from_repository(order_id);
    last_resort_.restore(*order);
    return true;
}

void Moves::not_restored(uint64_t order_id) {
    const MoveOrder* const order = orders_.find(order_id);
    if (order == nullptr) return;
    if (const auto ended = orders_.done(order_id, order->to, MoveResult::not_found, steady_clock::now()))
        finished(*ended, 0);
}

void Moves::done(uint16_t blade, const chassis::MoveDone& done) {
    if (!chassis::MoveResult_IsValid(done.result())) return;
    const auto result = static_cast<MoveResult>(done.result());
    const MoveOrder* const order = orders_.find(done.order_id());
    if (result == MoveResult::not_found && order != nullptr && order->from == blade && restore(order->id))
        return;
    const auto ended = orders_.done(done.order_id(), blade, result, steady_clock::now());
    if (!ended) {
        spdlog::debug("moves: blade {} reports on order {}, which is not its to report on", blade,
                      done.order_id());
        return;
    }
    if (result != MoveResult::moved)
        spdlog::info("moves: blade {} to {}: {} {}", ended->order.from, ended->order.to, text_of(result),
                     done.reason());
    finished(*ended, done.expires_ms());
}

void Moves::announce(uint16_t blade, const chassis::Announce& announce) {
    std::vector<MovedSession> learned;
    if (announce.reset()) {
        directory_.erase_holder(blade);
        directory_changed_ = true;
    }
    const uint64_t now = unix_ms();
    for (const auto& held : announce.held()) {
        const auto name = name_from(held.name());
        const auto home = name ? secrets_.home(*name) : std::nullopt;
        if (home && *home != blade && held.expires_ms() > now)
            directory_.set({*name, blade, held.expires_ms()});
    }
    directory_changed_ = true;
}

void Moves::agent_lost(uint16_t blade) {
    for (const FinishedMove& move : orders_.holder_gone(blade)) finished(move, 0);
}

void Moves::tick() {
    for (const FinishedMove& move : orders_.expire(steady_clock::now())) finished(move, 0);
    directory_.sweep(unix_ms());
}

void Moves::configured() {
    for (const MovedSession& session : directory_.all(unix_ms()))
        if (!config_.blades.contains(session.holder)) {
            directory_.erase(session.name);
            directory_changed_ = true;
        }
}

void Moves::send_directory() {
    directory_changed_ = false;
    send_entries(directory_.all(unix_ms()), true);
}

/// `replace`: what the dataplane had goes as the first of them come, not before.
void Moves::send_entries(const std::vector<MovedSession>& sessions, bool replace) {
    size_t sent = 0;
    do {
        link::ToDataplane message;
        link::MovedEntries& batch = *message.mutable_moved_entries();
        batch.set_replace_all(replace && sent == 0);
        for (const size_t end = std::min(sessions.size(), sent + kEntriesPerMessage); sent < end; sent++)
            fill(*batch.add_entries(), sessions[sent]);
        dataplane_.send(std::move(message));
    } while (sent < sessions.size());
}

}  // namespace keyrail
