// SPDX-License-Identifier: Apache-2.0
// Any stream: the hello in it, all at once and cut short. The first two bytes choose the limits and the cut.
// A prefix must never claim more than the whole, nor ask for more than the whole took.
#include <algorithm>
#include <vector>

#include "dataplane/wire/client_hello.h"
#include "tests/support/in_two_pieces.h"

using namespace keyrail;

namespace {

bool lies_within(Bytes part, Bytes whole) {
    return part.empty() ||
           (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_views(const ClientHello& hello, Bytes stream, Bytes scratch) {
    for (const Bytes view : {hello.session_id, hello.server_name, hello.alpn, hello.psk_identities,
                             hello.session_ticket, hello.ticket_key_name()})
        if (!lies_within(view, stream) && !lies_within(view, scratch)) __builtin_trap();
    std::array<SessionName, kMaxNames> names;
    if (session_names(hello, names) > kMaxNames) __builtin_trap();
    each_alpn_protocol(hello, [&](Bytes protocol) {
        if (!lies_within(protocol, hello.alpn)) __builtin_trap();
    });
}

void check_offset(const HelloResult& result, size_t size) {
    const bool more = result.status == HelloStatus::need_more;
    if (more ? result.offset <= size : result.offset > size) __builtin_trap();
    if (result.size > size) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    static std::array<uint8_t, kHelloMax> scratch;
    const HelloLimits limits{.bytes = data[0] % 2 ? kHelloDefault : 600u,
                             .records = static_cast<uint16_t>(1 + data[0] / 2),
                             .proxy_header = true};
    const std::vector<uint8_t> stream(data + 2, data + size);
    ClientHello hello;
    const HelloResult whole = parse_client_hello(stream, scratch, limits, hello);
    check_offset(whole, stream.size());
    check_views(hello, stream, scratch);

    const std::vector<uint8_t> start(stream.begin(),
                                     stream.begin() + static_cast<ptrdiff_t>(stream.size() * data[1] / 256));
    const HelloResult prefix = parse_client_hello(start, scratch, limits, hello);
    check_offset(prefix, start.size());
    check_views(hello, start, scratch);
    // what is complete, or no hello at all, stays so whatever follows
    if (prefix.status != HelloStatus::need_more && prefix.status != whole.status) __builtin_trap();
    if (whole.status == HelloStatus::complete && prefix.status == HelloStatus::need_more &&
        prefix.offset > whole.offset)
        __builtin_trap();
    if (test::told_in_two_pieces(stream, start.size(), limits) == test::Told::something_else)
        __builtin_trap();
    return 0;
}
