// SPDX-License-Identifier: Apache-2.0
// A lock in shared memory for short sections. Its holder may die (the kernel says so: robust futexes,
// futex(2)), be stopped, or be hostile (then one does without). Nothing but the one word is shared, and no
// pointer: who can write the memory can keep others out, and do nothing else to them.
#pragma once

#include <atomic>
#include <cstdint>

namespace keyrail {

/// 0, or the id of the thread that holds it; with FUTEX_WAITERS and FUTEX_OWNER_DIED as linux/futex.h says.
using LockWord = std::atomic<uint32_t>;

/// Holds the lock while it exists, if it could be had. A thread may hold several at a time, the last one
/// first given back; should it die then, the kernel frees the last one only.
class LockHold {
  public:
    /// Longest wait. It has to be longer than a holder that the scheduler took the processor from may need,
    /// and short enough for a server that waits in a handshake.
    static constexpr uint64_t kPatienceUs = 50'000;

    enum class Outcome {
        kHeld,
        kOwnerDied,  // held; what it guards was left in the middle of something
        kNot,        // the holder does not come to an end
    };

    /// `stuck`: beside the locks, in the same memory: a thread that kept somebody waiting for too long.
    /// Nobody waits for it again, at any of its locks, until it has given one back or died.
    LockHold(LockWord& word, LockWord& stuck);
    ~LockHold();
    LockHold(const LockHold&) = delete;
    LockHold& operator=(const LockHold&) = delete;

    [[nodiscard]] Outcome outcome() const { return outcome_; }

  private:
    Outcome wait();

    LockWord& word_;
    LockWord& stuck_;
    uint32_t self_;
    void* before_;  // what the kernel would have freed without us
    Outcome outcome_;
};

}  // namespace keyrail
