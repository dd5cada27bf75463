// SPDX-License-Identifier: Apache-2.0
// One direction of a TCP connection, as far as it was looked at, and the search in it: where the next TLS
// record begins and whether it is a ClientHello. Pure: bytes in, steps out.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/core/burst.h"

namespace keyrail::replay {

struct Stream {
    Tuple tuple;
    Seq start;  // of its first byte, or of the first that the capture has
    Seq fin;    // where it ends
    bool finished = false;
    Seq next;             // of the first byte that was not looked at
    uint32_t skip = 0;    // bytes from there to the next TLS record
    bool in_tls = false;  // next + skip is where a TLS record begins; else only a segment's start may be one
    uint32_t hold = kNone;  // segments that wait for more, in the pipeline's hold table
};

/// What the bytes at Stream::next are.
struct Step {
    enum Kind : uint8_t {
        skip,     // nothing that matters: `bytes` of them
        segment,  // nothing that is known: try where the next segment starts
        more,     // perhaps a hello, when `bytes` are there
        hello,    // a whole ClientHello of `bytes`; `result` says whether it is a good one
        refused,  // a ClientHello that cannot be whole; `result` says why. Goes on behind `bytes`
    } kind;
    uint32_t bytes = 0;
    HelloResult result{};
};

class HelloFinder {
  public:
    /// Looks at `bytes`, which begin at stream.next. `hello()` is what was read of a ClientHello.
    Step next_step(Stream& stream, Bytes bytes);
    [[nodiscard]] const ClientHello& hello() const { return hello_; }

  private:
    Step pass_record(Stream& stream, Bytes bytes);

    ClientHello hello_;
    std::array<uint8_t, kHelloMax> scratch_;
};

/// The bytes begin like a ClientHello, as far as they go, and tell it from other messages.
bool begins_hello(Bytes bytes);

}  // namespace keyrail::replay
