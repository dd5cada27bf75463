// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/moves/drains.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace keyrail {

std::string DrainProgress::stuck(std::chrono::steady_clock::time_point now) const {
    return now - std::max(began, last_moved) < kPatience ? "" : in_vain;
}

namespace {
std::string why_in_vain(const DrainProgress& progress) {
    if (progress.failed == 0) return "";
    if (progress.nowhere_to_go == progress.failed)
        return "no other blade of its pools takes sessions (is one up, with its agent and the hook library?)";
    return fmt::format("moves end as '{}': {}", text_of(progress.last_failure),
                       kMoveResultTexts[static_cast<size_t>(progress.last_failure)].meaning);
}
}  // namespace

void Drains::start(BladeId blade, uint32_t rate, Time now) {
    const auto [entry, fresh] = drains_.try_emplace(blade);
    Drain& drain = entry->second;
    drain.progress.rate = std::clamp<uint32_t>(rate, 1, kHighestRate);
    if (fresh) drain.progress.began = drain.next_list = drain.last_tick = now;
}

const DrainProgress* Drains::progress(BladeId blade) const {
    const auto found = drains_.find(blade);
    return found == drains_.end() ? nullptr : &found->second.progress;
}

void Drains::listed(BladeId blade, uint64_t cursor, bool last, std::deque<Listed> sessions) {
    const auto found = drains_.find(blade);
    if (found == drains_.end() || !found->second.listing) return;
    Drain& drain = found->second;
    drain.listing = false;
    drain.next_list = {};
    drain.cursor = cursor;
    drain.last = last;
    drain.found += sessions.size();
    std::ranges::move(sessions, std::back_inserter(drain.waiting));
}

void Drains::moved(BladeId blade, MoveResult result) {
    const auto found = drains_.find(blade);
    if (found == drains_.end()) return;
    Drain& drain = found->second;
    if (drain.under_way > 0) drain.under_way--;
    if (result == MoveResult::moved) {
        drain.progress.moved++;
        drain.progress.last_moved = drain.last_tick;
    }
    // A session that has gone in the meantime (used, expired, moved by its client's return) is no failure.
    if (result == MoveResult::moved || result == MoveResult::not_found) return;
    drain.progress.failed++;
    drain.progress.last_failure = result;
}

std::chrono::milliseconds Drains::pause() const {
    constexpr uint32_t kFast = 200;  // moves a second: less than that is a step of one or two as it is
    const bool fast =
        std::ranges::any_of(drains_, [](const auto& entry) { return entry.second.progress.rate > kFast; });
    return fast ? kShortTick : kTick;
}

bool Drains::makes_way(Drain& drain, Time now) const {
    if (!host_.client_waits()) {
        drain.held_up = {};
        return false;
    }
    if (drain.held_up == Time{}) drain.held_up = now;
    return now - drain.held_up < kMakesWay;
}

void Drains::tick(Time now) {
    for (auto& [blade, drain] : drains_) tick(blade, drain, now);
}

void Drains::tick(BladeId blade, Drain& drain, Time now) {
    const double passed = std::chrono::duration<double>(now - std::exchange(drain.last_tick, now)).count();
    const double burst =
        std::max(1.0, drain.progress.rate * 0.05);  // what a pause of 50 ms may leave to catch up
    drain.allowance = std::min(burst, drain.allowance + passed * drain.progress.rate);
    const bool stands_still = makes_way(drain, now);
    while (!stands_still && drain.allowance >= 1 && !drain.waiting.empty() &&
           drain.under_way < kMaxUnderWay) {
        const Listed session = std::move(drain.waiting.front());
        drain.waiting.pop_front();
        drain.allowance -= 1;
        const auto to = host_.target(blade, session.name, session.service);
        if (!to) {
            drain.progress.failed++;
            drain.progress.nowhere_to_go++;
            continue;
        }
        drain.under_way++;
        host_.move(blade, *to, session.name, session.service);
    }
    if (drain.waiting.size() < kBatch / 2) list(blade, drain, now);
}

void Drains::list(BladeId blade, Drain& drain, Time now) {
    if (now < drain.next_list) return;
    if (drain.last) {
        if (drain.waiting.empty() && drain.under_way == 0) end_pass(drain, now);
        return;
    }
    if (drain.cursor == 0) drain.progress.failed = drain.progress.nowhere_to_go = 0;
    drain.listing = host_.list(blade, drain.cursor, kBatch, drain.lately);
    drain.next_list = now + (drain.listing ? kPatience : kPause);
}

void Drains::end_pass(Drain& drain, Time now) {
    DrainProgress& progress = drain.progress;
    if (std::exchange(drain.lately, false)) {
        drain.cursor = drain.found = 0;
        drain.last = false;
        drain.next_list = now;
        return;
    }
    progress.passes++;
    const bool moved = std::exchange(drain.moved_before, progress.moved) != progress.moved;
    progress.in_vain = moved ? "" : why_in_vain(progress);
    const bool empty = drain.found == 0;
    if (empty && !std::exchange(progress.empty, true)) progress.ended = now;
    if (!empty) progress.empty = false;
    const bool pause = empty || progress.failed > 0;
    drain.cursor = drain.found = 0;
    drain.last = false;
    drain.next_list = pause ? now + kPause : now;
}

}  // namespace keyrail
