// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/keys/key_rotation.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace keyrail {

bool KeyRotation::done(const Result<void>& result, Secrets::Time now, std::string_view what) {
    if (result) {
        spdlog::info("keys: {}", what);
    } else {
        spdlog::error("keys: cannot be replaced: {}", result.error().message);
        quiet_until_ = now + kRetry;
    }
    return result.has_value();
}

bool KeyRotation::tick(Secrets::Time now, const Situation& situation) {
    if (now < quiet_until_) return false;
    if (secrets_.coming()) {
        if (!situation.waits_for.empty()) return false;
        return done(secrets_.promote(now, situation.longest_session + kMargin, kCookiesOpen), now,
                    "everybody has the new ones: they are used from now on");
    }
    const auto retired = secrets_.retire(now);
    if (!retired || *retired) return done(retired.map([](bool) {}), now, "old ones have retired");
    const auto current = std::ranges::find_if(secrets_.name_keys(), &Secrets::Key::current);
    const auto made = std::chrono::system_clock::from_time_t(current->made_s);
    if (situation.key_lifetime.count() == 0 || now < made + situation.key_lifetime) return false;
    return done(secrets_.rotate(now), now, "new ones are made, for the old ones have had their time");
}

}  // namespace keyrail
