// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/checks/check_state.h"

#include <algorithm>

namespace keyrail {

using std::chrono::microseconds;

const char* text_of(CheckVerdict::Health health) {
    switch (health) {
        case CheckVerdict::Health::up:
            return "up";
        case CheckVerdict::Health::down:
            return "down";
        case CheckVerdict::Health::unknown:
            break;
    }
    return "unknown";
}

bool CheckState::take(const CheckAnswer& answer, const CheckConfig& check, Time now) {
    if (answer.kind == CheckAnswer::Kind::ours) return false;
    const bool good = answer.kind == CheckAnswer::Kind::good;
    in_a_row_ = good == last_good_ && in_a_row_ != 0 ? in_a_row_ + 1 : 1;
    last_good_ = good;
    const Health before = health_;
    if (!good && health_ != Health::down && in_a_row_ >= check.fall) go(Health::down, check, now);
    if (good && health_ == Health::unknown) go(Health::up, check, now);
    if (good && health_ == Health::down && in_a_row_ >= check.rise && now - since_ >= hold_)
        go(Health::up, check, now);
    return health_ != before;
}

/// Out again: twice as long as the last time, but for what it was well in between: each `hold_down_max` of
/// that halves it.
void CheckState::go(Health health, const CheckConfig& check, Time now) {
    if (health == Health::down) {
        const auto quiet = std::chrono::duration_cast<microseconds>(now - since_);
        microseconds hold = was_down_ ? 2 * hold_ : check.hold_down;
        for (auto well = check.hold_down_max; well.count() > 0 && well <= quiet && hold > check.hold_down;
             well += check.hold_down_max)
            hold /= 2;
        hold_ = std::clamp(hold, check.hold_down, check.hold_down_max);
        was_down_ = true;
        flaps_++;
    }
    health_ = health;
    since_ = now;
}

microseconds CheckState::wait(const CheckConfig& check, double random) const {
    microseconds wait = check.interval;
    if (health_ == Health::down)
        wait = !last_good_ ? check.down : in_a_row_ < check.rise ? check.fast : check.interval;
    else if (health_ == Health::unknown || !last_good_)
        wait = check.fast;
    const double spread = check.jitter * (2 * random - 1) / 100;
    return microseconds(static_cast<int64_t>(static_cast<double>(wait.count()) * (1 + spread)));
}

std::optional<std::chrono::milliseconds> CheckState::held(const CheckConfig& check, Time now) const {
    if (health_ != Health::down || !last_good_ || in_a_row_ < check.rise) return std::nullopt;
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::ceil<std::chrono::milliseconds>(hold_ - (now - since_)));
}

uint32_t CheckState::share(const CheckConfig& check, Time now) const {
    constexpr uint32_t kWhole = 100, kStep = 10;
    if (health_ != Health::up || !was_down_ || now - since_ >= check.slow_start) return kWhole;
    const auto part = std::chrono::duration<double>(now - since_) / check.slow_start;
    return kStep + static_cast<uint32_t>(part * (kWhole - kStep) / kStep) * kStep;
}

}  // namespace keyrail
