// SPDX-License-Identifier: Apache-2.0
// Where a frame goes: a destination MAC and a port, in one word, so that the control thread may replace it
// while workers read it, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace keyrail {

using MacAddress = std::array<uint8_t, 6>;

/// The VLAN tags of a link, outermost first, as they lie in a frame.
struct TagStack {
    uint8_t size = 0;  // bytes: 0, 4 or 8
    std::array<uint8_t, 8> bytes{};
    bool operator==(const TagStack&) const = default;
};
inline constexpr size_t kMaxTagStacks = 256;

/// 8 bytes: MAC (6), index of a TagStack (1; 0 = no tags), index into Ports and a flag (1). All zero = not
/// known (yet).
struct NextHop {
    MacAddress mac{};
    uint8_t tags = 0;
    uint8_t port : 7 = 0;
    uint8_t known : 1 = 0;

    [[nodiscard]] uint64_t pack() const { return std::bit_cast<uint64_t>(*this); }
    static NextHop unpack(uint64_t word) { return std::bit_cast<NextHop>(word); }
};
static_assert(sizeof(NextHop) == 8);

/// control thread: rw, workers: ro.
class AtomicNextHop {
  public:
    [[nodiscard]] NextHop load() const { return NextHop::unpack(word_.load(std::memory_order_acquire)); }
    void store(const NextHop& hop) { word_.store(hop.pack(), std::memory_order_release); }

  private:
    std::atomic<uint64_t> word_{0};
};

}  // namespace keyrail
