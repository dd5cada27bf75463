// SPDX-License-Identifier: Apache-2.0
// Any frame: its headers, and the answer to it as if it were a SYN.
#include <vector>

#include "dataplane/bind/syn_cookie.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    // an exact copy, so that a read past the frame is a read past the allocation
    const std::vector<uint8_t> frame(data, data + size);
    const Headers h = parse_headers(frame);
    if (h.layout == Layout::icmp_error && h.tuple == Tuple{}) __builtin_trap();  // somebody sent it
    if (h.layout != Layout::tcp) return 0;
    if (size_t{h.payload} + h.payload_size > size) __builtin_trap();
    const std::array<kr_cookie_key, 2> keys = {{{1, 2}, {3, 4}}};
    cookie_acknowledged(frame, h, keys);

    std::vector<uint8_t> reply = frame;
    reply.resize(std::max(size, kSynAckMax));
    reply.resize(answer_syn(reply, h, keys[1], 1, 99));
    const Headers answered = parse_headers(reply);
    if (answered.layout != Layout::tcp || answered.ack != h.seq + 1) __builtin_trap();
    if (answered.tuple.source != h.tuple.destination) __builtin_trap();
    return 0;
}
