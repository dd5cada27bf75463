// SPDX-License-Identifier: Apache-2.0
// For logs: what happens again and again is said once, then once a minute with how often it happened, so that
// whoever knocks without end does not fill a disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace keyrail {

class Seldom {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::minutes kPause{1};
    static constexpr size_t kMax = 256;  // different things; more are said as one

    /// How often it happened since it was last said, when it is to be said now; nullopt: not now.
    std::optional<uint64_t> happened(const std::string& what, Clock::time_point now = Clock::now()) {
        if (things_.size() >= kMax && !things_.contains(what)) forget_silent(now);
        Thing& thing = things_[things_.size() < kMax || things_.contains(what) ? what : ""];
        thing.times++;
        if (thing.said != Clock::time_point{} && now - thing.said < kPause) return std::nullopt;
        thing.said = now;
        return std::exchange(thing.times, 0);
    }
    /// It is over: when it happens again it is said at once.
    void over(const std::string& what) { things_.erase(what); }

  private:
    struct Thing {
        Clock::time_point said{};
        uint64_t times = 0;
    };
    void forget_silent(Clock::time_point now) {
        std::erase_if(things_, [&](const auto& entry) {
            return entry.second.times == 0 && now - entry.second.said >= kPause;
        });
    }
    std::map<std::string, Thing> things_;
};

/// " (17 times)", or nothing for once.
inline std::string times_text(uint64_t times) {
    return times > 1 ? " (" + std::to_string(times) + " times)" : "";
}

}  // namespace keyrail
