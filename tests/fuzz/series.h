// SPDX-License-Identifier: Apache-2.0
// A fuzzer's input as a series of messages: each with its length (2 bytes, the first one high) in front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "chassis.pb.h"

namespace keyrail::testing {

/// Calls `take` with each one that can be parsed.
template <typename Take>
void for_each_message(const uint8_t* data, size_t size, Take take) {
    while (size >= 2) {
        const size_t length = std::min<size_t>(size - 2, data[0] << 8 | data[1]);
        chassis::Envelope message;
        if (message.ParseFromArray(data + 2, static_cast<int>(length))) take(message);
        data += 2 + length;
        size -= 2 + length;
    }
}

}  // namespace keyrail::testing
