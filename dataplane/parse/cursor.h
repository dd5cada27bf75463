// SPDX-License-Identifier: Apache-2.0
// A bounded reader of TLS's presentation language (RFC 8446 section 3): vectors with their length in front.
// Pure. The first thing that is wrong, in any part of a message, is the message's fault; what can be read
// behind it, is.
#pragma once

#include <algorithm>
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

    [[nodiscard]] bool more() const { return !rest_.empty(); }
    [[nodiscard]] Bytes rest() const { return rest_; }

    /// Notes a fault here, if `good` is false. Reading goes on.
    void expect(bool good) {
        if (!good && !*fault_) *fault_ = at_;
    }

    /// The next `n` bytes; if there are fewer, none, and nothing more will be read here.
    Bytes take(size_t n) {
        expect(n <= rest_.size());
        const Bytes taken = n <= rest_.size() ? rest_.first(n) : Bytes{};
        rest_ = n <= rest_.size() ? rest_.subspan(n) : Bytes{};
        at_ += taken.size();
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

    /// The next `n` bytes, or what there is of them, as a part whose faults are faults of the whole.
    Cursor part(size_t n) {
        expect(n <= rest_.size());
        const size_t base = at_;
        return {take(std::min(n, rest_.size())), *fault_, base};
    }
    Cursor part8() { return part(u8()); }
    Cursor part16() { return part(u16()); }

  private:
    Bytes rest_;
    size_t at_;
    Fault* fault_;
};

}  // namespace keyrail
