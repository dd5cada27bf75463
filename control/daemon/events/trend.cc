// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/events/trend.h"

namespace keyrail {

namespace {

template <typename T>
T growth(T now, T before) {
    return now >= before ? now - before : now;
}

}  // namespace

void Trend::take(uint64_t unix_ms, const TrendTotals& totals) {
    TrendSample sample;
    sample.unix_ms = unix_ms;
    sample.seconds = unix_ms > last_ms_ ? static_cast<double>(unix_ms - last_ms_) / 1000 : 0;
    for (const auto& [id, now] : totals.blades) {
        const auto before = last_.blades.find(id);
        if (before == last_.blades.end()) continue;  // it has counted since long ago
        sample.resumed += growth(now.resumed, before->second.resumed);
        sample.full += growth(now.full, before->second.full);
    }
    sample.moved = growth(totals.moved, last_.moved);
    sample.moves_failed = growth(totals.moves_failed, last_.moves_failed);
    if (totals.drops && last_.drops) sample.drops = growth(*totals.drops, *last_.drops);
    sample.cpu_saved_s = growth(totals.cpu_saved_s, last_.cpu_saved_s);
    for (const auto& [id, now] : totals.blades) last_.blades[id] = now;
    last_.moved = totals.moved;
    last_.moves_failed = totals.moves_failed;
    last_.cpu_saved_s = totals.cpu_saved_s;
    if (totals.drops) last_.drops = totals.drops;
    if (last_ms_ != 0) samples_.push_back(sample);
    last_ms_ = unix_ms;
    if (samples_.size() > kKept) samples_.pop_front();
}

}  // namespace keyrail
