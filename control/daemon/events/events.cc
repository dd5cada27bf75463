// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/events/events.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

namespace keyrail {

void Events::add(std::string_view kind, std::string_view actor, std::string text) {
    using namespace std::chrono;
    const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
    // By the clock, so that a listener's last number means something after a restart.
    last_ = std::max(last_ + 1, static_cast<uint64_t>(now) * 1000);
    kept_.push_back(
        {last_, static_cast<uint64_t>(now), std::string(kind), std::string(actor), std::move(text)});
    if (kept_.size() > kKept) kept_.pop_front();
    const Event& event = kept_.back();
    spdlog::info("{}: {} (by {})", event.kind, event.text, event.actor);
    if (listener_) listener_(event);
}

std::deque<Event> Events::since(uint64_t id) const {
    const auto first = std::ranges::upper_bound(kept_, id, {}, &Event::id);
    return {first, kept_.end()};
}

}  // namespace keyrail
