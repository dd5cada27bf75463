// SPDX-License-Identifier: Apache-2.0
// Any stream: the hello in it, all at once and cut short. A prefix must never claim more than the whole.
#include <vector>

#include "dataplane/parse/client_hello.h"

using namespace keyrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static std::array<uint8_t, kHelloScratch> scratch;
    const std::vector<uint8_t> stream(data, data + size);
    ClientHello hello;
    const HelloResult whole = parse_client_hello(stream, scratch, hello);
    if (whole.status == HelloStatus::complete) {
        if (whole.offset > size) __builtin_trap();
        std::array<SessionName, kMaxNames> names;
        session_names(hello, names);
    }
    if (whole.status == HelloStatus::need_more && whole.offset <= size) __builtin_trap();

    const std::vector<uint8_t> half(data, data + size / 2);
    ClientHello part;
    const HelloResult prefix = parse_client_hello(half, scratch, part);
    // what is complete, or no hello at all, stays so whatever follows
    if (prefix.status != HelloStatus::need_more && prefix.status != whole.status) __builtin_trap();
    return 0;
}
