// SPDX-License-Identifier: Apache-2.0
// What checks say of a service on a blade.
#pragma once

#include <cstdint>
#include <string>

namespace keyrail {

struct CheckVerdict {
    enum class Health : uint8_t { unknown, up, down };
    Health health = Health::unknown;
    std::string text;      // what was got, where it is down
    uint32_t share = 100;  // percent of its part of the new clients
    bool operator==(const CheckVerdict&) const = default;
};

const char* text_of(CheckVerdict::Health health);

}  // namespace keyrail
