// SPDX-License-Identifier: Apache-2.0
// A counter with one writer, read by other threads with relaxed loads.
#pragma once

#include <atomic>
#include <cstdint>

namespace keyrail {

/// No lock prefix, yet no torn or cached read elsewhere.
class Counter {
  public:
    void add(uint64_t n = 1) { value_.store(get() + n, std::memory_order_relaxed); }
    void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
    [[nodiscard]] uint64_t get() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<uint64_t> value_{0};
};

}  // namespace keyrail
