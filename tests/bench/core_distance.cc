// SPDX-License-Identifier: Apache-2.0
// How far apart two cores are: a cache line goes from one to the other and back. Under a hypervisor that
// moves virtual cores between groups that share a cache and groups that do not, what two processes can
// exchange goes up and down with it, by more than whatever is measured. Prints nanoseconds. Usage:
// core_distance [A=0] [B=1]
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace {

constexpr int kRoundTrips = 100'000;

/// Alone in its line, and in the one that is prefetched with it.
struct alignas(128) Ball {
    std::atomic<int> number{0};
};

bool run_on(int core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<unsigned>(core), &cores);
    return pthread_setaffinity_np(pthread_self(), sizeof cores, &cores) == 0;
}

void play(Ball& ball, int first) {
    for (int n = first; n < 2 * kRoundTrips; n += 2) {
        while (ball.number.load(std::memory_order_acquire) != n) {
        }
        ball.number.store(n + 1, std::memory_order_release);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int a = argc > 1 ? std::atoi(argv[1]) : 0, b = argc > 2 ? std::atoi(argv[2]) : 1;
    Ball ball;
    bool placed = false;
    std::chrono::nanoseconds took{};
    std::thread other([&] {
        placed = run_on(b);
        play(ball, 1);
    });
    const bool here = run_on(a);
    const auto begin = std::chrono::steady_clock::now();
    play(ball, 0);
    other.join();
    took = std::chrono::steady_clock::now() - begin;
    if (!here || !placed) {
        fmt::print(stderr, "core_distance: cannot run on cores {} and {}: name two that there are\n", a, b);
        return 1;
    }
    fmt::print("{:.0f}\n", static_cast<double>(took.count()) / kRoundTrips);
}
