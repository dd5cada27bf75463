// SPDX-License-Identifier: Apache-2.0
// A value in shared memory that one process writes and many read without a lock: a seqlock. It must be plain
// data, and be right as zeroes (nothing published yet).
#pragma once

#include <strings.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace keyrail {

template <typename T>
class Published {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    /// One writer; readers never block it.
    void publish(const T& value) {
        // An odd value here is ours: an earlier writer died in the middle.
        const uint32_t sequence = sequence_.load(std::memory_order_relaxed) | 1;
        sequence_.store(sequence, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        std::memcpy(static_cast<void*>(&value_), &value, sizeof value);
        sequence_.store(sequence + 1, std::memory_order_release);
    }

    /// Calls `look` with the value, again when it changed meanwhile: `look` copies what it needs and believes
    /// nothing yet. False: nothing was published, or the writer died while it wrote.
    template <typename Look>
    bool read(Look look) const {
        for (int attempt = 0; attempt < 1000; attempt++) {
            const uint32_t before = version();
            if (before == 0) return false;
            if (before & 1) continue;
            look(value_);
            std::atomic_thread_fence(std::memory_order_acquire);
            if (sequence_.load(std::memory_order_relaxed) == before) return true;
        }
        return false;
    }

    /// Changes whenever the value does: a cheap check for caches.
    [[nodiscard]] uint32_t version() const { return sequence_.load(std::memory_order_acquire); }

  private:
    std::atomic<uint32_t> sequence_;
    T value_;
};

}  // namespace keyrail
