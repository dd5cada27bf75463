// SPDX-License-Identifier: Apache-2.0
// Any message from control: it becomes a snapshot that can be searched, or is refused with a reason.
#include "dataplane/core/snapshot.h"
#include "link.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    keyrail::link::Snapshot message;
    if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
    const auto snapshot = keyrail::Snapshot::build(message);
    if (!snapshot) {
        if (snapshot.error().message.empty()) __builtin_trap();
        return 0;
    }
    keyrail::Address address{};
    if ((*snapshot)->find(address, 443) == 0 && (*snapshot)->services.empty()) __builtin_trap();
    for (const auto& pool : (*snapshot)->pools)
        if (!pool.ring.empty() && pool.ring.second(size) == 0) __builtin_trap();
    for (const auto& service : (*snapshot)->services)
        if (service.pool >= (*snapshot)->pools.size()) __builtin_trap();
    return 0;
}
