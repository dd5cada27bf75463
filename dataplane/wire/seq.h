// SPDX-License-Identifier: Apache-2.0
// A TCP sequence number: a place on a circle of 2^32 (RFC 9293 section 3.4), compared as RFC 1982 compares
// serial numbers. All arithmetic with sequence numbers is here, so that none can overflow. Pure.
#pragma once

#include <cstdint>

namespace keyrail {

class Seq {
  public:
    constexpr Seq() = default;
    constexpr Seq(uint32_t value) : value_(value) {}  // NOLINT(google-explicit-constructor): as in a packet

    /// As it lies in a packet, in host order.
    [[nodiscard]] constexpr uint32_t value() const { return value_; }

    [[nodiscard]] constexpr Seq operator+(uint32_t bytes) const { return {value_ + bytes}; }
    constexpr Seq& operator+=(uint32_t bytes) { return *this = *this + bytes; }
    [[nodiscard]] constexpr Seq back(uint32_t bytes) const { return {value_ - bytes}; }

    /// How many bytes `a` is ahead of `b`: -2^31 to 2^31 - 1, negative when it is behind. In 64 bits: the sum
    /// of a distance and of a size does not overflow.
    friend constexpr int64_t operator-(Seq a, Seq b) { return static_cast<int32_t>(a.value_ - b.value_); }
    /// Does it lie in front of the other one? Not an order of all numbers: three can each be in front of the
    /// next.
    [[nodiscard]] constexpr bool before(Seq other) const { return *this - other < 0; }
    constexpr bool operator==(const Seq&) const = default;

  private:
    uint32_t value_ = 0;
};

}  // namespace keyrail
