// SPDX-License-Identifier: Apache-2.0
// A value in shared memory that one process writes and many read without a lock, and without ever waiting:
// there are two copies, the writer fills the one that nobody is sent to. It must be plain data, and be right
// as zeroes (nothing published yet).
#pragma once

#include <strings.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace keyrail {

template <typename T>
class Published {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    /// One writer. Should it die, or be kept from running, in the middle of this, the value of before holds.
    void publish(const T& value) {
        const uint32_t next = sequence_.load(std::memory_order_relaxed) + 1;
        // A reader that finds what is written now also finds the sequence of the publish before this one.
        std::atomic_thread_fence(std::memory_order_release);
        std::memcpy(static_cast<void*>(&copies_[next % 2]), &value, sizeof value);
        sequence_.store(next == 0 ? 2 : next, std::memory_order_release);  // 0 means nothing
    }

    /// Calls `look` with the value, again when it was published anew meanwhile: `look` copies what it needs
    /// and believes nothing yet. False: nothing was published, or it changes all the time.
    template <typename Look>
    bool read(Look look) const {
        for (int attempt = 0; attempt < 1000; attempt++) {
            const uint32_t before = version();
            if (before == 0) return false;
            look(copies_[before % 2]);
            std::atomic_thread_fence(std::memory_order_acquire);
            if (sequence_.load(std::memory_order_relaxed) == before) return true;
        }
        return false;
    }

    /// Changes whenever the value does: a cheap check for caches.
    [[nodiscard]] uint32_t version() const { return sequence_.load(std::memory_order_acquire); }

  private:
    std::atomic<uint32_t> sequence_;  // of the latest publish; its last bit says which copy
    std::array<T, 2> copies_;
};

}  // namespace keyrail
