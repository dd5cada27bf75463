// SPDX-License-Identifier: Apache-2.0
// A bounded reader of TLS's presentation language (RFC 8446 section 3): vectors with their length in front.
// Pure. The first thing that is wrong, in any part of a message, is the message's fault; what can be read
// behind it, is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/wire/headers.h"

namespace keyrail {

using Bytes = std::span<const uint8_t>;

/// Where a message stops to make sense: an offset into it.
using Fault = std::optional<size_t>;

class Cursor {
  public:
    Cursor(Bytes bytes, Fault& fault) : Cursor(bytes.data(), bytes, fault) {}

    [[nodiscard]] bool more() const { return at_ != end_; }
    [[nodiscard]] Bytes rest() const { return {at_, end_}; }

    /// Notes a fault, here or at `at`, if `good` is false. Reading goes on.
    void expect(bool good) { expect(good, at_); }
    void expect(bool good, const uint8_t* at) {
        if (!good) [[unlikely]]
            note(*fault_, static_cast<size_t>(at - message_));
    }

    /// The next `n` bytes; if there are fewer, none, and nothing more will be read here.
    Bytes take(size_t n) {
        if (!has(n)) [[unlikely]] {
            at_ = end_;
            return {};
        }
        at_ += n;
        return {at_ - n, n};
    }
    uint8_t u8() {
        const Bytes b = take(1);
        return b.empty() ? uint8_t{0} : b[0];
    }
    uint16_t u16() {
        const Bytes b = take(2);
        return b.empty() ? uint16_t{0} : load16(b.data());
    }
    /// A vector16 with a type in front of it, or what there is of it: what lists of extensions are made of
    /// (RFC 8446 section 4.2). It is nearly always whole, and then one load tells type and size.
    Bytes typed_vector16(uint16_t& type) {
        constexpr ptrdiff_t kHeader = 4;
        const uint32_t header = end_ - at_ >= kHeader ? load32(at_) : UINT32_MAX;
        const uint8_t *body = at_ + kHeader, *behind = body + (header & 0xffff);
        if (behind > end_) [[unlikely]] {
            type = u16();
            return part16().rest();
        }
        at_ = behind;
        type = static_cast<uint16_t>(header >> 16);
        return {body, behind};
    }
    /// typed_vector16() would give a whole one.
    [[nodiscard]] bool has_typed_vector16() const {
        constexpr ptrdiff_t kHeader = 4;
        return end_ - at_ >= kHeader && end_ - at_ - kHeader >= load16(at_ + 2);
    }
    /// These bytes of the same message.
    [[nodiscard]] Cursor over(Bytes bytes) const { return {message_, bytes, *fault_}; }
    Bytes vector8() { return take(u8()); }
    Bytes vector16() { return take(u16()); }

    /// The next `n` bytes, or what there is of them, as a part whose faults are faults of the whole.
    Cursor part(size_t n) {
        if (!has(n)) [[unlikely]]
            n = static_cast<size_t>(end_ - at_);
        return {message_, take(n), *fault_};
    }
    Cursor part8() { return part(u8()); }
    Cursor part16() { return part(u16()); }

  private:
    Cursor(const uint8_t* message, Bytes bytes, Fault& fault)
        : message_(message), at_(bytes.data()), end_(bytes.data() + bytes.size()), fault_(&fault) {}

    /// Are there `n` more bytes? If not, that is a fault.
    bool has(size_t n) {
        const bool there = n <= static_cast<size_t>(end_ - at_);
        expect(there);
        return there;
    }
    /// Not a member of this object: its place in memory would keep it out of registers.
    [[gnu::cold, gnu::noinline]] static void note(Fault& fault, size_t at) {
        if (!fault) fault = at;
    }

    const uint8_t *message_, *at_, *end_;  // a fault is an offset into the message
    Fault* fault_;
};

}  // namespace keyrail
