// SPDX-License-Identifier: Apache-2.0
// Who asks something of keyraild, and what they may: by the kernel's word of the other end of a unix socket
// (SO_PEERCRED), or by a certificate (operator_tls.h); never by what they say.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "dataplane/common/result.h"

namespace keyrail {

enum class Role : uint8_t {
    none,
    read,   // group `keyrail`, or keyrail:operator:read
    admin,  // root, keyraild's own user, group `keyrail-admin`, or keyrail:operator:admin
};

struct Actor {
    std::string name;  // "alice"; "uid 1004" where nobody is called so
    uid_t uid = 0;
    Role role = Role::none;

    static constexpr uid_t kNoUser = static_cast<uid_t>(-1);
    /// Comes over TLS (operator_tls.h), not from this machine.
    [[nodiscard]] bool by_certificate() const { return uid == kNoUser; }
};

inline constexpr const char* kReadGroup = "keyrail";
inline constexpr const char* kAdminGroup = "keyrail-admin";

/// Who is at the other end of this unix socket.
Result<Actor> actor_of(int socket);

/// Lets the group `keyrail` reach the socket in `run_dir`, where there is such a group. Changes only what is
/// not so already, and never narrows a folder that others may enter. An error: the owner alone reaches it, as
/// before.
Result<void> open_to_group(const std::filesystem::path& run_dir, const std::filesystem::path& socket);

}  // namespace keyrail
