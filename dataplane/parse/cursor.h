// SPDX-License-Identifier: Apache-2.0
// A bounded reader of TLS's presentation language (RFC 8446 section 3): vectors with their length in front.
// Pure; the first read that fails, in any vector of a message, is the message's fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/parse/headers.h"

namespace keyrail {

using Bytes = std::span<const uint8_t>;

/// Where a message stops to make sense: an offset into it.
using Fault = std::optional<size_t>;

class Cursor {
  public:
    Cursor(Bytes bytes, Fault& fault, size_t base = 0) : rest_(bytes), at_(base), fault_(&fault) {}

    /// Another element is there, and nothing was wrong so far.
    [[nodiscard]] bool more() const { return !*fault_ && !rest_.empty(); }
    /// What is left of it.
    [[nodiscard]] Bytes rest() const { return rest_; }
    void fail() {
        if (!*fault_) *fault_ = at_;
        rest_ = {};
    }
    void expect(bool good) {
        if (!good) fail();
    }

    Bytes take(size_t n) {
        if (n > rest_.size()) fail();
        if (*fault_) return {};
        const Bytes taken = rest_.first(n);
        rest_ = rest_.subspan(n);
        at_ += n;
        return taken;
    }
    uint8_t u8() {
        const Bytes b = take(1);
        return b.empty() ? uint8_t{0} : b[0];
    }
    uint16_t u16() {
        const Bytes b = take(2);
        return b.empty() ? uint16_t{0} : load16(b.data());
    }
    Bytes vector8() { return take(u8()); }
    Bytes vector16() { return take(u16()); }

    /// The next `n` bytes as a message part of its own, whose faults are faults of the whole.
    Cursor part(size_t n) {
        const size_t base = at_;
        return {take(n), *fault_, base};
    }
    Cursor part8() { return part(u8()); }
    Cursor part16() { return part(u16()); }

  private:
    Bytes rest_;
    size_t at_;
    Fault* fault_;
};

}  // namespace keyrail
