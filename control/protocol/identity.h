// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of a chassis connection: what its certificate's SAN URI says, never what a message
// says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/protocol/result.h"

namespace keyrail {

struct Identity {
    enum class Role : uint8_t { control, blade };
    Role role = Role::control;
    uint16_t blade = 0;  // 1..4095 for a blade, 0 for control

    static constexpr Identity control() { return {Role::control, 0}; }
    static constexpr Identity of_blade(uint16_t id) { return {Role::blade, id}; }

    /// "keyrail:control" or "keyrail:blade:<id>"; anything else (leading zeros included) is an error.
    static Result<Identity> from_uri(std::string_view uri);
    [[nodiscard]] std::string uri() const;
    /// For people: "control" or "blade 3".
    [[nodiscard]] std::string text() const;

    [[nodiscard]] bool is_control() const { return role == Role::control; }
    [[nodiscard]] bool is_blade() const { return role == Role::blade; }
    bool operator==(const Identity&) const = default;
};

}  // namespace keyrail
