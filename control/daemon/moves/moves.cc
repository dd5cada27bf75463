// SPDX-License-Identifier: Apache-2.0
// Moves: wishes, orders, outcomes.
#include "control/daemon/moves/moves.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "chassis.pb.h"
#include "dataplane/common/name_bytes.h"
#include "link.pb.h"

namespace keyrail {

using std::chrono::microseconds;

namespace {

constexpr size_t kEntriesPerMessage = 1000;      // about 50 KB
constexpr microseconds kDrainBudget{2'000'000};  // nobody waits
constexpr uint64_t kDefaultLifetimeMs = 7'200'000;
constexpr size_t kMaxReason = 200;  // of a blade, for the log

void fill(link::MovedEntry& entry, const MovedSession& session) {
    entry.set_name(bytes_of(session.name));
    entry.set_holder(session.holder);
    entry.set_expires_unix_s(session.expires_ms / 1000);
}

void fill(chassis::Expect::Arrival& message, const Arrival& arrival) {
    message.set_move_id(arrival.move_id);
    message.set_token(arrival.token);
    message.set_port(arrival.port);
}

}  // namespace

uint64_t unix_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

uint64_t credible_expiry(uint64_t expires_ms) {
    constexpr uint64_t kLongestMs = uint64_t{7} * 24 * 3600 * 1000, kClocksMs = 60'000;
    return std::min(expires_ms, unix_ms() + kLongestMs + kClocksMs);
}

std::optional<BladeId> Moves::holder(const SessionName& name) const {
    if (const auto moved = directory_.find(name, unix_ms())) return moved->holder;
    return host_.home(name);
}

/// In the directory, or moved home just now: that is in no directory, and the dataplane has not been told
/// yet.
std::optional<MovedSession> Moves::whereabouts(const SessionName& name) const {
    if (auto moved = directory_.find(name, unix_ms())) return moved;
    const auto home = fresh_.find(name);
    return home == fresh_.end() ? std::nullopt : std::optional(home->second);
}

// --- wishes ---

/// Both blades must be in the service's pools. Only the session's record says which service it belongs to,
/// and the holder checks that. Who asks may not know it (""): then there must be a service that both serve.
bool Moves::may_move(BladeId from, BladeId to, const std::string& service) const {
    return std::ranges::any_of(config_->services, [&](const ServiceConfig& config) {
        return (service.empty() || config.name == service) && config.has_member(from) &&
               config.has_member(to);
    });
}

std::optional<MoveResult> Moves::refusal(const MoveWish& wish) const {
    const std::string& service = wish.service;
    if (wish.from == wish.to || !config_->blades.contains(wish.from) ||
        !may_move(wish.from, wish.to, service) || !host_.uses_sessions(wish.to, service))
        return MoveResult::refused;
    const ServiceId id = ServiceId::of(service);
    const bool has_source = host_.dead(wish.from)
                                ? host_.keeps(service)
                                : host_.connected(wish.from) && !host_.purging(wish.from, wish.name, id);
    if (orders_.full() || !has_source || !host_.connected(wish.to)) return MoveResult::unreachable;
    return std::nullopt;
}

void Moves::ask(MoveWish wish, Time now) {
    if (wish.since == Time{}) wish.since = now;
    // Under way it is neither where it was nor yet where it goes: what is to be done shows when it has
    // arrived.
    if (orders_.under_way(wish.name)) return (void)orders_.ask(wish, now);
    // The asker's table may lag behind.
    if (const auto moved = whereabouts(wish.name)) {
        if (moved->holder == wish.to) return answer(wish.waiter, MoveResult::moved, &*moved);
        wish.from = moved->holder;
    }
    if (const auto refused = refusal(wish)) {
        orders_.count_refusal(*refused);
        return answer(wish.waiter, *refused, nullptr);
    }
    const auto order = orders_.ask(wish, now);
    if (order && !(host_.dead(order->from) && restore(order->id, {}))) give_order(*order, now);
}

void Moves::request(const link::MoveRequest& request, Time now) {
    const Waiter waiter{Waiter::Kind::dataplane, 0, request.move_id()};
    stages_.add(MoveStages::request, request.sent_ns(), stamp_ns(now));
    const auto name = name_from(request.name());
    if (!name || request.from() > BladeId::kMax || request.to() > BladeId::kMax)
        return answer(waiter, MoveResult::refused, nullptr);
    const bool port = request.arrival_port() <= UINT16_MAX;
    ask({.waiter = waiter,
         .name = *name,
         .from = BladeId::or_none(request.from()),
         .to = BladeId::or_none(request.to()),
         .budget = microseconds(request.budget_us()),
         .service = request.service(),
         .arrival = {request.move_id(), request.token(),
                     static_cast<uint16_t>(port ? request.arrival_port() : 0)}},
        now);
}

bool Moves::may_pull(BladeId from, BladeId to, const std::string& name) {
    const auto service = std::ranges::find(config_->services, name, &ServiceConfig::name);
    if (service == config_->services.end() || !service->has_member(to)) {
        orders_.count_not_authorised();
        const std::string asked = name.substr(0, 63);
        if (const auto times = log_.happened(std::to_string(to) + asked))
            spdlog::warn(
                "moves: blade {} asks for a session of service '{}' of blade {}, and does not serve it; "
                "refused{}",
                to, asked, from, times_text(*times));
        return false;
    }
    // The blade does not say for what content its server misses the session.
    return service->content_moves || service->has_content_of(from, to);
}

void Moves::pull(BladeId blade, uint64_t request, const chassis::Pull& pull, Time now) {
    const Waiter waiter{Waiter::Kind::pull, blade, request};
    const auto name = name_from(pull.name());
    const auto from = name ? holder(*name) : std::nullopt;
    if (!from) return answer(waiter, MoveResult::not_found, nullptr);
    if (!pull.service().empty() && !may_pull(*from, blade, pull.service())) {
        orders_.count_refusal(MoveResult::refused);
        return answer(waiter, MoveResult::refused, nullptr);
    }
    ask({waiter, *name, *from, blade, microseconds(pull.budget_us()), pull.service()}, now);
}

void Moves::drain(BladeId from, BladeId to, const SessionName& name, const std::string& service, Time now) {
    if (holder(name) != from)
        return host_.drained(from, MoveResult::not_found);  // it left since it was listed
    ask({{Waiter::Kind::drain, from, 0}, name, from, to, kDrainBudget, service}, now);
}

void Moves::give_order(const MoveOrder& order, Time now) {
    chassis::Envelope envelope;
    chassis::Order& message = *envelope.mutable_order();
    message.set_order_id(order.id);
    message.set_name(bytes_of(order.name));
    message.set_to(order.to);
    message.set_budget_us(static_cast<uint32_t>(order.budget.count()));
    for (const ServiceConfig& service : config_->services)
        if (service.has_member(order.from) && service.has_member(order.to))
            message.add_services(service.name);
    chassis::Envelope announcement;
    chassis::Expect& expect = *announcement.mutable_expect();
    expect.set_order_id(order.id);
    expect.set_name(bytes_of(order.name));
    expect.set_from(order.from);
    expect.set_soon(order.soon);
    *expect.mutable_services() = message.services();
    if (order.arrival.port != 0) fill(*expect.mutable_arrival(), order.arrival);
    expect.set_receipt(host_.receipt(order.name, order.to, order.id));
    if (const LatestState* const latest = host_.latest(order.name); latest && !latest->gone) {
        message.set_floor_uses(latest->uses);
        message.set_floor_digest(latest->digest.data(), latest->digest.size());
    }
    // The order first: its way is the longer one.
    auto sent = host_.send(order.from, std::move(envelope));
    if (sent) sent = host_.send(order.to, std::move(announcement));
    if (!sent) {
        spdlog::warn("moves: {}", sent.error().message);
        if (const auto ended = orders_.done(order.id, order.from, MoveResult::unreachable, now))
            finished(*ended, 0);
    }
}

// --- outcomes ---

void Moves::answer(const Waiter& waiter, MoveResult result, const MovedSession* now) {
    if (waiter.kind == Waiter::Kind::drain) return host_.drained(waiter.blade, result);
    if (waiter.kind == Waiter::Kind::pull) {
        chassis::Envelope reply;
        reply.set_request(waiter.id);
        const bool there = result == MoveResult::moved && (!now || now->holder == waiter.blade);
        reply.mutable_pull_reply()->set_result(static_cast<chassis::MoveResult>(
            there || result != MoveResult::moved ? result : MoveResult::not_found));
        (void)host_.send(waiter.blade, std::move(reply));  // an agent that is gone asks no more
        return;
    }
    link::ToDataplane message;
    link::MoveOutcome& outcome = *message.mutable_move_outcome();
    outcome.set_move_id(waiter.id);
    outcome.set_result(static_cast<link::MoveResult>(result));
    if (now) fill(*outcome.mutable_now(), *now);
    outcome.set_sent_ns(stamp_ns());
    host_.send(std::move(message));
}

bool Moves::fenced(const MoveOrder& order) const {
    if (fences_.empty()) return false;
    const ServiceId service = ServiceId::of(order.service);
    return std::ranges::any_of(fences_, [&](const Fence& fence) {
        return order.id < fence.number && fence.purged.means(order.name, service);
    });
}

void Moves::finished(const FinishedMove& move, uint64_t expires_ms) {
    const bool purged = move.result == MoveResult::moved && fenced(move.order);
    const MoveResult result = purged ? MoveResult::not_found : move.result;
    host_.ended(move, result);
    // What came before is the past, unless nothing has happened.
    if (result != MoveResult::refused && result != MoveResult::unreachable) fresh_.erase(move.order.name);
    if (result != MoveResult::moved) {
        // It is no longer where it was. A client that comes back is sent to the home, and makes a full
        // handshake.
        if (result == MoveResult::not_found || result == MoveResult::lost) directory_.erase(move.order.name);
        for (const Waiter& waiter : move.waiters) answer(waiter, result, nullptr);
        for (const MoveWish& wish : move.others) answer(wish.waiter, result, nullptr);
        return;
    }
    expires_ms = expires_ms == 0 ? unix_ms() + kDefaultLifetimeMs : credible_expiry(expires_ms);
    const MovedSession now{move.order.name, move.order.to, expires_ms, move.order.id,
                           ServiceId::of(move.order.service)};
    if (host_.home(now.name) == now.holder)
        directory_.erase(now.name);
    else
        directory_.set(now);
    const auto by_dataplane = [](const Waiter& waiter) { return waiter.kind == Waiter::Kind::dataplane; };
    if (std::ranges::none_of(move.waiters, by_dataplane)) fresh_.emplace(now.name, now);
    for (const Waiter& waiter : move.waiters) answer(waiter, MoveResult::moved, &now);
    for (MoveWish wish : move.others) ask_again(std::move(wish), now, move.at);
}

/// It joined a move to another blade, and the session has arrived there. Whoever gave up waiting must not
/// take it from the client that it came for.
void Moves::ask_again(MoveWish wish, const MovedSession& now, Time at) {
    const auto waited = at - wish.since;
    if (waited > wish.budget) return answer(wish.waiter, MoveResult::unreachable, nullptr);
    if (wish.waiter.kind == Waiter::Kind::pull && !wish.service.empty() && now.holder != wish.to &&
        !may_pull(now.holder, wish.to, wish.service)) {
        orders_.count_refusal(MoveResult::refused);
        return answer(wish.waiter, MoveResult::refused, nullptr);
    }
    wish.from = now.holder;
    ask(std::move(wish), at);
}

bool Moves::restore(uint64_t order_id, const NotUsed& known) {
    const MoveOrder* const order = orders_.find(order_id);
    if (order == nullptr || order->source == MoveSource::repository || fenced(*order) ||
        !host_.restore(*order, known))
        return false;
    orders_.from_repository(order_id);
    return true;
}

void Moves::not_restored(uint64_t order_id, Time now) {
    const MoveOrder* const order = orders_.find(order_id);
    if (order == nullptr) return;
    if (const auto ended = orders_.done(order_id, order->to, MoveResult::not_found, now)) finished(*ended, 0);
}

void Moves::done(BladeId blade, const chassis::MoveDone& done, Time now) {
    if (!chassis::MoveResult_IsValid(done.result())) return;
    const auto result = static_cast<MoveResult>(done.result());
    const MoveOrder* const order = orders_.find(done.order_id());
    const NotUsed known{done.fate() == chassis::NOT_USED ? blade : BladeId{}, done.epoch()};
    if (result == MoveResult::not_found && order != nullptr && order->from == blade &&
        done.fate() != chassis::USED_UP && restore(order->id, known))
        return;
    const auto ended = orders_.done(done.order_id(), blade, result, now);
    if (!ended) {
        spdlog::debug("moves: blade {} reports on order {}, which is not its to report on", blade,
                      done.order_id());
        return;
    }
    if (result == MoveResult::moved) measure(*ended, done.times(), now);
    if (result != MoveResult::moved)
        spdlog::info("moves: blade {} to {}: {} {}", ended->order.from, ended->order.to, text_of(result),
                     done.reason().substr(0, kMaxReason));
    finished(*ended, done.expires_ms());
    if (result == MoveResult::moved && ended->order.source == MoveSource::repository)
        host_.restored(ended->order);
}

/// Of moves that a client waits for: those of a drain wait for each other.
void Moves::measure(const FinishedMove& move, const chassis::MoveTimes& times, Time now) {
    const auto by_dataplane = [](const Waiter& waiter) { return waiter.kind == Waiter::Kind::dataplane; };
    if (std::ranges::none_of(move.waiters, by_dataplane)) return;
    stages_.add(MoveStages::order, stamp_ns(move.started), times.ordered_ns());
    stages_.add(MoveStages::take, times.ordered_ns(), times.sent_ns());
    stages_.add(MoveStages::transfer, times.sent_ns(), times.received_ns());
    stages_.add(MoveStages::store, times.received_ns(), times.stored_ns());
    stages_.add(MoveStages::report, times.stored_ns(), stamp_ns(now));
}

void Moves::announce(BladeId blade, const chassis::Announce& announce) {
    if (announce.reset()) directory_.begin_announcing(blade);
    const uint64_t now = unix_ms();
    for (const auto& held : announce.held()) {
        const auto name = name_from(held.name());
        const auto home = name ? host_.home(*name) : std::nullopt;
        if (home == blade || held.expires_ms() <= now) continue;
        if (home && host_.purging(blade, *name, ServiceId(held.service_id()))) continue;
        const auto order = home ? host_.order_in(held.receipt(), *name, blade) : std::nullopt;
        const auto known = home ? directory_.find(*name, now) : std::nullopt;
        if (!order || (known && known->order > *order))
            orders_.count_announced_in_vain();
        else
            directory_.set(
                {*name, blade, credible_expiry(held.expires_ms()), *order, ServiceId(held.service_id())});
    }
    if (announce.done()) directory_.end_announcing(blade);
    directory_changed_ = true;
}

void Moves::refused(BladeId blade, const chassis::TransfersRefused& refused) {
    constexpr uint64_t kMaxAtOnce = 1'000'000;  // a blade says it
    orders_.count_transfers_refused(std::min(refused.count(), kMaxAtOnce));
    const std::string reason = refused.reason().substr(0, kMaxReason);
    if (const auto times = log_.happened(std::to_string(refused.from()) + reason))
        spdlog::warn("moves: blade {} has refused {} sessions that blade {} sent{}: {}", blade,
                     refused.count(), refused.from(), times_text(*times), reason);
}

void Moves::agent_lost(BladeId blade) {
    for (const FinishedMove& move : orders_.holder_gone(blade)) finished(move, 0);
}

void Moves::tick(Time now) {
    for (const FinishedMove& move : orders_.expire(now)) finished(move, 0);
    directory_.sweep(unix_ms());
    std::erase_if(fences_, [&](const Fence& fence) { return now - fence.since > 2 * Orders::kTimeout; });
    if (fresh_.empty()) return;
    std::vector<MovedSession> entries;
    for (const auto& [name, session] : std::exchange(fresh_, {})) entries.push_back(session);
    send_entries(entries, false);
}

uint64_t Moves::purge(const Purged& purged, Time now) {
    const auto meant = [&](const MovedSession& session) {
        return purged.means(session.name, session.service);
    };
    directory_.erase_if(meant);
    std::erase_if(fresh_, [&](const auto& entry) { return meant(entry.second); });
    fences_.push_back({purged, orders_.take_number(), now});
    directory_changed_ = true;
    return fences_.back().number;
}

void Moves::configure(ConfigPtr config) {
    config_ = std::move(config);
    for (const MovedSession& session : directory_.all(unix_ms()))
        if (!config_->blades.contains(session.holder)) {
            directory_.erase(session.name);
            directory_changed_ = true;
        }
}

void Moves::send_directory() {
    directory_changed_ = false;
    fresh_.clear();
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
        host_.send(std::move(message));
    } while (sent < sessions.size());
}

}  // namespace keyrail
