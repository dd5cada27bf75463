// SPDX-License-Identifier: Apache-2.0
// What happened on the chassis, and who did it: the latest of it, numbered, for whoever looks or listens.
// Each is in the log, too. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace keyrail {

struct Event {
    uint64_t id = 0;  // ascending, also over restarts
    uint64_t unix_ms = 0;
    std::string kind;   // "blade.drain.started"
    std::string actor;  // "root"; "keyraild": nobody asked for it
    std::string text;   // a sentence
};

class Events {
  public:
    static constexpr size_t kKept = 1000;
    static constexpr const char* kNobody = "keyraild";

    void add(std::string_view kind, std::string_view actor, std::string text);
    /// Those after `id`, oldest first; those that are no longer kept are missing.
    [[nodiscard]] std::deque<Event> since(uint64_t id) const;
    [[nodiscard]] uint64_t last() const { return last_; }
    /// Called with each new one.
    void on_event(std::function<void(const Event&)> listener) { listener_ = std::move(listener); }

  private:
    std::deque<Event> kept_;
    uint64_t last_ = 0;
    std::function<void(const Event&)> listener_;
};

}  // namespace keyrail
