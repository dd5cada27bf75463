// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/current_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <atomic>
#include <new>
#include <string>

namespace keyrail::hooks {

namespace {

constexpr uint64_t kPauseMs = 200;  // between looks that are in vain

// Never freed: connections point to it, and the memory must outlive every exit handler.
std::atomic<Store*> store{nullptr};
std::atomic<uint64_t> next_look_ms{0};
std::atomic<bool> complained{false};

/// As it was at the first look: nginx takes the environment away from its workers.
const std::string& path() {
    static const char* const given = getenv("KEYRAIL_STORE");
    static const auto* const kept =
        new std::string(given != nullptr && given[0] != '\0' ? given : kDefaultStorePath);
    return *kept;
}

uint64_t now_ms() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

/// The successor first: a server that changed its root finds that one, too.
Result<Store> find(const Store* before) {
    if (before != nullptr) {
        auto successor = before->successor();
        if (successor && !successor->retired()) return successor;
    }
    return Store::open(path());
}

/// One thread looks, once in a while; the others go on without.
bool is_due() {
    const uint64_t now = now_ms();
    uint64_t due = next_look_ms.load(std::memory_order_relaxed);
    return now >= due && next_look_ms.compare_exchange_strong(due, now + kPauseMs);
}

Store* look(Store* before) {
    auto opened = find(before);
    if (!opened || opened->retired()) {
        if (!opened && before == nullptr && !complained.exchange(true))
            dprintf(2, "keyrail-tls: %s; sessions stay with this server; start keyrail-agent\n",
                    opened.error().message.c_str());
        return nullptr;
    }
    auto* found = new (std::nothrow) Store(std::move(*opened));
    if (found == nullptr) return nullptr;
    store.store(found, std::memory_order_release);  // of two threads that found one, the last one's counts
    next_look_ms.store(0, std::memory_order_relaxed);
    return found;
}

}  // namespace

Store* current_store(Look when) {
    Store* const now = store.load(std::memory_order_acquire);
    if (now != nullptr && !now->retired()) return now;
    return when == Look::kNow || is_due() ? look(now) : nullptr;
}

}  // namespace keyrail::hooks
