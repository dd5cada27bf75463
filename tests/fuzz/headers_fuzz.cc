// SPDX-License-Identifier: Apache-2.0
// Any frame: its headers, and the answer to it as if it were a SYN.
#include <algorithm>
#include <vector>

#include "dataplane/wire/arrival_frame.h"
#include "tests/support/cookies.h"

namespace {

/// The packet that an ICMP error quotes names its two ends one behind the other, the server's first.
bool quotes(const std::vector<uint8_t>& frame, const keyrail::Headers& h) {
    const size_t skip = h.ipv6 ? 0 : 12;  // ::ffff: is not in the packet
    std::vector<uint8_t> ends(h.tuple.destination.begin() + skip, h.tuple.destination.end());
    ends.insert(ends.end(), h.tuple.source.begin() + skip, h.tuple.source.end());
    return std::ranges::search(frame, ends).begin() != frame.end();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    // an exact copy, so that a read past the frame is a read past the allocation
    const std::vector<uint8_t> frame(data, data + size);
    const Headers h = parse_headers(frame);
    Headers usual;
    if (parse_usual_headers(frame, usual) && usual != h) __builtin_trap();
    if (h.layout == Layout::icmp_error && !quotes(frame, h)) __builtin_trap();
    if (arrival_in(frame, h) && size < kEthernetSize + size_t{kIpv4Min} + kArrivalSize) __builtin_trap();
    if (h.layout != Layout::tcp) return 0;
    if (size_t{h.payload} + h.payload_size > size) __builtin_trap();
    const test::CookieKeys keys = {{{1, 2}, {3, 4}}};
    test::cookie_acknowledged(frame, h, keys, 0);

    std::vector<uint8_t> reply = frame;
    reply.resize(std::max(size, kSynAckMax));
    reply.resize(test::answer_syn(reply, h, keys, 1, 99));
    const Headers answered = parse_headers(reply);
    if (answered.layout != Layout::tcp || answered.ack != h.seq + 1) __builtin_trap();
    if (answered.tuple.source != h.tuple.destination) __builtin_trap();
    return 0;
}
