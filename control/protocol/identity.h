// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of a chassis connection: what its certificate's SAN URI says, never what a message
// says.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

struct Identity {
    enum class Role : uint8_t { control, blade, stranger };
    Role role = Role::control;
    BladeId blade = 0;  // 1..4095 for a blade, else 0

    static constexpr Identity control() { return {Role::control, 0}; }
    static constexpr Identity of_blade(BladeId id) { return {Role::blade, id}; }
    /// Who showed no certificate. Only keyraild lets one in, and only to ask for a certificate.
    static constexpr Identity stranger() { return {Role::stranger, 0}; }

    /// "keyrail:control" or "keyrail:blade:<id>"; anything else (leading zeros included) is an error.
    static Result<Identity> from_uri(std::string_view uri);
    [[nodiscard]] std::string uri() const;
    /// For people: "control", "blade 3" or "a stranger".
    [[nodiscard]] std::string text() const;

    [[nodiscard]] bool is_control() const { return role == Role::control; }
    [[nodiscard]] bool is_blade() const { return role == Role::blade; }
    [[nodiscard]] bool is_stranger() const { return role == Role::stranger; }
    bool operator==(const Identity&) const = default;
};

}  // namespace keyrail
