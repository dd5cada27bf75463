// SPDX-License-Identifier: Apache-2.0
// Where a frame goes: a destination MAC and a port, in one word, so that the control thread may replace it
// while workers read it, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "dataplane/wire/macs.h"

namespace keyrail {

/// The VLAN tags of a link, outermost first, as they lie in a frame.
struct TagStack {
    uint8_t size = 0;  // bytes: 0, 4 or 8
    std::array<uint8_t, 8> bytes{};
    bool operator==(const TagStack&) const = default;
};
inline constexpr size_t kMaxTagStacks = 256;

/// 8 bytes: MAC (48 bits), index of a TagStack (8; 0 = no tags), index into Ports (7), known (1). All zero =
/// not known (yet). One word, not a struct of these: a worker keeps it in a register.
class NextHop {
  public:
    constexpr NextHop() = default;
    NextHop(const MacAddress& mac, uint8_t port, uint8_t tags = 0)
        : word_(kKnown | uint64_t{port} << kPortShift | uint64_t{tags} << kTagsShift) {
        std::memcpy(&word_, mac.data(), mac.size());
    }
    static constexpr NextHop unpack(uint64_t word) {
        NextHop hop;
        hop.word_ = word;
        return hop;
    }
    [[nodiscard]] constexpr uint64_t pack() const { return word_; }

    [[nodiscard]] constexpr bool known() const { return (word_ & kKnown) != 0; }
    [[nodiscard]] constexpr uint8_t port() const { return word_ >> kPortShift & 0x7f; }
    [[nodiscard]] constexpr uint8_t tags() const { return static_cast<uint8_t>(word_ >> kTagsShift); }
    [[nodiscard]] constexpr uint64_t mac_word() const { return word_ & kMacMask; }
    [[nodiscard]] MacAddress mac() const {
        MacAddress mac;
        std::memcpy(mac.data(), &word_, mac.size());
        return mac;
    }
    bool operator==(const NextHop&) const = default;

  private:
    static constexpr unsigned kTagsShift = 48, kPortShift = 56;
    static constexpr uint64_t kKnown = uint64_t{1} << 63;
    uint64_t word_ = 0;
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
