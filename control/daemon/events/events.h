// SPDX-License-Identifier: Apache-2.0
// What happened on the chassis, and who did it: the latest of it, numbered, for whoever looks or listens.
// Each is in the log, too; in systemd's journal with fields (journal.h). What keyraild notices by itself is
// limited: the same kind about the same thing is said at once, then once a minute with how often it happened
// (kinds of states, which change to and fro: four times at once).
// What somebody did is never left out. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "dataplane/common/ids.h"

namespace keyrail {

struct Event {
    uint64_t id = 0;  // ascending, also over restarts
    uint64_t unix_ms = 0;
    std::string kind;          // kinds.h
    std::string actor;         // "root"; "keyraild": nobody asked for it
    std::string text;          // a sentence
    BladeId blade = 0;         // that it is about; 0: about none
    std::string service = {};  // likewise
    uint64_t times = 1;        // since it was said last
};

/// What an event is about.
struct EventAbout {
    BladeId blade = 0;
    std::string service = {};
};

class Events {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr size_t kKept = 1000;
    static constexpr const char* kNobody = "keyraild";
    static constexpr std::chrono::minutes kPause{1};
    static constexpr size_t kMaxLimited = 8192;  // kinds and things; more: said as they come

    using About = EventAbout;
    void add(std::string_view kind, std::string_view actor, std::string text, About about = {},
             Clock::time_point now = Clock::now());
    /// Now and then: says what happened again and has waited for its minute.
    void tick(Clock::time_point now = Clock::now());

    /// Those after `id`, oldest first; those that are no longer kept are missing.
    [[nodiscard]] std::deque<Event> since(uint64_t id) const;
    [[nodiscard]] uint64_t last() const { return last_; }
    /// Called with each new one.
    void on_event(std::function<void(const Event&)> listener) { listener_ = std::move(listener); }

  private:
    struct Limited {
        Clock::time_point said;
        unsigned at_once = 0;  // left of what is said as it comes
        uint64_t waiting = 0;  // happened since then
        Event latest;
    };
    void say(Event event);
    bool waits(const Event& event, Clock::time_point now);

    std::deque<Event> kept_;
    uint64_t last_ = 0;
    std::map<std::string, Limited> limited_;  // by kind, blade and service
    std::function<void(const Event&)> listener_;
};

}  // namespace keyrail
