// SPDX-License-Identifier: Apache-2.0
#include "control/agent/store_watch.h"

#include <spdlog/spdlog.h>

namespace keyrail {

bool StoreWatch::look() {
    const auto now = std::chrono::steady_clock::now();
    const uint32_t held = store_.shards_held();
    if (held == 0) {
        held_for_s_ = 0;
        return false;
    }
    if (held_for_s_++ == 0)
        spdlog::warn("store: a process keeps {} parts of it locked; their sessions are not found", held);
    if (held_for_s_ < kHeldTooLong || now < renewed_ + kRenewalPause) return false;
    renewed_ = now;
    if (auto renewed = store_.renew(config_.store, config_.server_group); !renewed) {
        spdlog::error("store: {}", renewed.error().message);
        return false;
    }
    held_for_s_ = 0;
    report();
    return true;
}

void StoreWatch::report() const {
    if (!store_.replaced()) return;
    const Store::Replaced& news = *store_.replaced();
    if (!news.readable) return spdlog::warn("store: there was one of another release; its sessions are lost");
    spdlog::warn(
        "store: a new one took the place of one of {} MB: {} sessions carried over, {} did not fit, {} parts "
        "of it are locked by a process and were left behind",
        news.old_bytes >> 20, news.carried, news.lost, news.shards_held);
}

}  // namespace keyrail
