// SPDX-License-Identifier: Apache-2.0
// What follows from one check after the other: is it well, when is the next one, how much of its share does
// it get. Pure: the time is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "control/daemon/checks/check_verdict.h"
#include "control/daemon/config/check_keys.h"

namespace keyrail {

/// What came of one check.
struct CheckAnswer {
    enum class Kind : uint8_t {
        good,
        bad,
        ours,  // it could not be made, or we were late: says nothing of the blade
    };
    Kind kind = Kind::ours;
    const char* why = "";  // in one word, of a bad one: "timeout", "refused", "certificate", …
    std::string text;      // what was got, for people
    bool alive = false;    // something on the blade answered
    bool offered = false;  // a session of before
    bool resumed = false;
    uint16_t status = 0;  // of HTTP; 0: none came
    std::chrono::microseconds took{0};
    std::optional<std::chrono::system_clock::time_point> certificate_ends;
};

class CheckState {
  public:
    using Time = std::chrono::steady_clock::time_point;
    using Health = CheckVerdict::Health;

    [[nodiscard]] Health health() const { return health_; }
    /// Takes an answer. True: it is in, or out, from now on.
    bool take(const CheckAnswer& answer, const CheckConfig& check, Time now);
    /// How long to wait for the next one. `random` from 0 to 1.
    [[nodiscard]] std::chrono::microseconds wait(const CheckConfig& check, double random) const;
    /// It is good again, and was out too often: so much longer it stays out.
    [[nodiscard]] std::optional<std::chrono::milliseconds> held(const CheckConfig& check, Time now) const;
    /// Percent of its share, 10 to 100, in tens: a blade that was out is warmed up. One that was well when
    /// we first looked has all of it.
    [[nodiscard]] uint32_t share(const CheckConfig& check, Time now) const;

    [[nodiscard]] uint32_t in_a_row() const { return in_a_row_; }  // answers of the same kind as the last
    [[nodiscard]] bool last_good() const { return last_good_; }
    [[nodiscard]] uint64_t flaps() const { return flaps_; }                 // how often it went out
    [[nodiscard]] Time since() const { return since_; }                     // when it came to be as it is
    [[nodiscard]] std::chrono::microseconds hold() const { return hold_; }  // it stays out so long, at least

  private:
    void go(Health health, const CheckConfig& check, Time now);

    Health health_ = Health::unknown;
    bool last_good_ = false, was_down_ = false;
    uint32_t in_a_row_ = 0;
    uint64_t flaps_ = 0;
    Time since_{};
    std::chrono::microseconds hold_{0};  // of the last time that it was out
};

}  // namespace keyrail
