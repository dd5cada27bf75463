// SPDX-License-Identifier: Apache-2.0
// The repository in Redis (6.2 or later: GETDEL), one server or a cluster. Keys are
// keyrail:<chassis>:<name in hex>, so that several chassis can share it; Redis expires them by itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "control/repository/repository.h"
#include "dataplane/common/address.h"

namespace keyrail {

struct RedisOptions {
    std::vector<HostPort> nodes;             // of a cluster: some of them; the others are found
    std::string user;                        // optional
    std::filesystem::path password_file;     // optional; its first line
    std::filesystem::path ca;                // given: TLS, and this CA signed the servers' certificates
    std::filesystem::path certificate, key;  // optional: who we are
    std::string chassis;

    bool operator==(const RedisOptions&) const = default;
};

/// Reads the files; does not connect yet, so that a Redis that is down keeps nobody from starting.
Result<std::unique_ptr<Repository>> open_redis_repository(const RedisOptions& options);

/// The slot of a key in a cluster (Redis cluster specification: CRC16-XMODEM mod 16384; our keys have no
/// hash tags).
uint16_t redis_slot(std::string_view key);

}  // namespace keyrail
