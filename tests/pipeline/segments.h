// SPDX-License-Identifier: Apache-2.0
// A client's hello in small segments, and what the blades got of its stream.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include <set>
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail::test {

inline constexpr size_t kPiece = 200;
using Frames = std::vector<Frame>;

class Segments : public testing::Test {
  protected:
    void SetUp() override { client.syn(); }

    [[nodiscard]] Frame piece(size_t i, size_t size = kPiece) const {
        return client.data(cut(hello, i * size, (i + 1) * size), static_cast<uint32_t>(i * size));
    }
    /// One after the other, each in a burst of its own; collects what goes to the blades.
    void send(const Frames& frames) {
        for (const Frame& frame : frames) {
            harness.burst(kFront, {frame});
            collect();
        }
        harness.expect_conserved();
    }
    void wait(uint64_t us) {
        harness.advance(us);
        collect();
        harness.expect_conserved();
    }
    void collect() {
        for (const Frame& frame : harness.wire(kBack)) {
            const Headers h = parse_headers(frame);
            const auto offset = static_cast<uint32_t>(h.seq - first_seq);
            blades.insert(destination(frame).back());
            frames_out++;
            if (offset > stream.size()) continue;  // behind a gap
            const size_t known = std::min<size_t>(stream.size() - offset, h.payload_size);
            stream.insert(stream.end(), frame.begin() + h.payload + static_cast<ptrdiff_t>(known),
                          frame.begin() + h.payload + h.payload_size);
        }
    }
    [[nodiscard]] size_t pieces() const { return (hello.size() + kPiece - 1) / kPiece; }

    Harness harness{Scene{.holds = 4}};
    Client client{harness, 41000};
    const std::vector<uint8_t> hello =
        client_hello({.name = Harness::name(2), .padding = 400, .post_quantum = false});
    const uint32_t first_seq = 5001;  // of Client
    std::vector<uint8_t> stream;      // what the blades got
    std::set<uint16_t> blades;        // which of them
    size_t frames_out = 0;
};

}  // namespace keyrail::test
