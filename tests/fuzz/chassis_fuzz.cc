// SPDX-License-Identifier: Apache-2.0
// Any frame of the backplane: what an agent makes of a record from another blade, and of what keyraild
// assigns to it.
#include "chassis.pb.h"
#include "control/agent/assignment.h"
#include "control/agent/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    chassis::Envelope envelope;
    if (!envelope.ParseFromArray(data, static_cast<int>(size))) return 0;
    if (envelope.has_transfer()) {
        constexpr uint64_t kNow = 1'700'000'000'000;
        SessionRecord record;
        ServedServices served;
        served.add("www", 443);
        const auto taken = from_message(envelope.transfer().record(), served, kNow, record);
        if (!taken && taken.error().message.empty()) __builtin_trap();
        if (taken && record.expires_ms <= kNow) __builtin_trap();  // a dead session must not come in
    }
    if (envelope.has_keys()) {
        const auto assigned = Assignment::from(envelope.keys(), 1);
        if (!assigned && assigned.error().message.empty()) __builtin_trap();
    }
    return 0;
}
