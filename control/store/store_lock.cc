// SPDX-License-Identifier: Apache-2.0
#include "control/store/store_lock.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace keyrail {

namespace {

struct Thread {
    uint32_t id = 0;
    uint32_t forks = 0;  // how often the process had been forked when `id` was asked for
    robust_list_head* robust = nullptr;
};

std::atomic<uint32_t> forks{1};
pthread_once_t once = PTHREAD_ONCE_INIT;
thread_local Thread this_thread;
thread_local robust_list_head own_list;

void count_fork() { forks.fetch_add(1, std::memory_order_relaxed); }

/// The thread's list of robust locks: libc's, which it registers itself, or else one of our own.
robust_list_head* robust_list_of_thread() {
    robust_list_head* head = nullptr;
    size_t size = 0;
    if (syscall(SYS_get_robust_list, 0, &head, &size) == 0 && head != nullptr && size == sizeof *head)
        return head;
    own_list = {{&own_list.list}, 0, nullptr};
    syscall(SYS_set_robust_list, &own_list, sizeof own_list);
    return &own_list;
}

const Thread& self() {
    Thread& thread = this_thread;
    if (thread.forks == forks.load(std::memory_order_relaxed)) return thread;
    pthread_once(&once, [] { pthread_atfork(nullptr, nullptr, count_fork); });
    thread.forks = forks.load(std::memory_order_relaxed);
    thread.id = static_cast<uint32_t>(syscall(SYS_gettid));
    thread.robust = robust_list_of_thread();
    return thread;
}

/// Should this thread die, the kernel looks at the lock behind `entry`, and frees it if the thread holds it.
/// libc has that for a lock which is being taken; here it stays until the lock is given back.
void* exchange_pending(const Thread& thread, void* entry) {
    robust_list* volatile& pending = thread.robust->list_op_pending;
    void* const before = pending;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    pending = static_cast<robust_list*>(entry);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return before;
}

void* entry_of(const Thread& thread, LockWord& word) {
    return reinterpret_cast<uint8_t*>(&word) - thread.robust->futex_offset;
}

uint64_t now_us() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

void sleep_while(LockWord& word, uint32_t value, uint64_t us) {
    const timespec left{static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
    syscall(SYS_futex, &word, FUTEX_WAIT, value, &left, nullptr, 0);
}

}  // namespace

LockHold::LockHold(LockWord& word, LockWord& stuck) : word_(word), stuck_(stuck) {
    const Thread& thread = self();
    self_ = thread.id;
    before_ = exchange_pending(thread, entry_of(thread, word));
    uint32_t free = 0;
    const bool held = word.compare_exchange_strong(free, self_, std::memory_order_acquire);
    outcome_ = held ? Outcome::kHeld : wait();
    if (outcome_ == Outcome::kNot) exchange_pending(thread, before_);
}

LockHold::Outcome LockHold::wait() {
    const uint64_t deadline = now_us() + kPatienceUs;
    const uint32_t first = word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK;
    bool same = true;    // the same owner all the time
    uint32_t waits = 0;  // for others, too: who was woken does not know whether more wait
    for (uint64_t now = deadline - kPatienceUs; now < deadline; now = now_us()) {
        uint32_t seen = word_.load(std::memory_order_relaxed);
        const uint32_t owner = seen & FUTEX_TID_MASK;
        if (owner == 0) {
            const uint32_t mine = self_ | (seen & FUTEX_WAITERS) | waits;
            if (!word_.compare_exchange_strong(seen, mine, std::memory_order_acquire)) continue;
            if ((seen & FUTEX_OWNER_DIED) == 0) return Outcome::kHeld;
            stuck_.store(0, std::memory_order_relaxed);
            return Outcome::kOwnerDied;
        }
        same = same && owner == first;
        if (owner == self_ || owner == stuck_.load(std::memory_order_relaxed)) return Outcome::kNot;
        if ((seen & FUTEX_WAITERS) == 0 &&
            !word_.compare_exchange_strong(seen, seen | FUTEX_WAITERS, std::memory_order_relaxed))
            continue;
        sleep_while(word_, seen | FUTEX_WAITERS, deadline - now);
        waits = FUTEX_WAITERS;
    }
    if (same) stuck_.store(first, std::memory_order_relaxed);
    return Outcome::kNot;
}

LockHold::~LockHold() {
    if (outcome_ == Outcome::kNot) return;
    if (stuck_.load(std::memory_order_relaxed) == self_) stuck_.store(0, std::memory_order_relaxed);
    if ((word_.exchange(0, std::memory_order_release) & FUTEX_WAITERS) != 0)
        syscall(SYS_futex, &word_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    exchange_pending(self(), before_);
}

}  // namespace keyrail
