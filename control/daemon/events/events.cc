// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/events/events.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/daemon/events/journal.h"
#include "control/daemon/events/kinds.h"

namespace keyrail {

namespace {

uint64_t unix_now_ms() {
    using namespace std::chrono;
    const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch());
    return static_cast<uint64_t>(now.count());
}

}  // namespace

void Events::add(std::string_view kind, std::string_view actor, std::string text, About about,
                 Clock::time_point now) {
    Event event;
    event.kind = kind;
    event.actor = actor;
    event.text = std::move(text);
    event.blade = about.blade;
    event.service = std::move(about.service);
    if (event.actor != kNobody || !waits(event, now)) say(std::move(event));
}

/// It is said later, with others of its kind.
bool Events::waits(const Event& event, Clock::time_point now) {
    std::string what = fmt::format("{}/{}/{}", event.kind, event.blade, event.service);
    if (limited_.size() >= kMaxLimited && !limited_.contains(what)) return false;
    const EventKind* const kind = kind_of(event.kind);
    const unsigned at_once = kind != nullptr ? kind->at_once : 1;
    Limited& limited = limited_.try_emplace(std::move(what), Limited{now, at_once, 0, {}}).first->second;
    if (limited.at_once > 0) {
        limited.at_once--;
        return false;
    }
    limited.waiting++;
    limited.latest = event;
    return true;
}

void Events::tick(Clock::time_point now) {
    for (auto entry = limited_.begin(); entry != limited_.end();) {
        Limited& limited = entry->second;
        if (now - limited.said < kPause) {
            ++entry;
        } else if (limited.waiting == 0) {
            entry = limited_.erase(entry);
        } else {
            limited.said = now;
            limited.latest.times = std::exchange(limited.waiting, 0);
            if (limited.latest.times > 1)
                limited.latest.text += fmt::format(" ({} times)", limited.latest.times);
            say(limited.latest);
            ++entry;
        }
    }
}

void Events::say(Event event) {
    event.unix_ms = unix_now_ms();
    // By the clock, so that a listener's last number means something after a restart.
    event.id = last_ = std::max(last_ + 1, event.unix_ms * 1000);
    kept_.push_back(std::move(event));
    if (kept_.size() > kKept) kept_.pop_front();
    write_to_log(kept_.back());
    if (listener_) listener_(kept_.back());
}

std::deque<Event> Events::since(uint64_t id) const {
    const auto first = std::ranges::upper_bound(kept_, id, {}, &Event::id);
    return {first, kept_.end()};
}

}  // namespace keyrail
