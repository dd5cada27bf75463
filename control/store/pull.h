// SPDX-License-Identifier: Apache-2.0
// A blade's TLS server asks its agent for a session that it does not have: one request and one reply of plain
// data over an abstract unix SOCK_SEQPACKET socket (reachable from a chroot). The name of the socket follows
// from the store's file, so that whoever has the store finds the agent that owns it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "control/store/store.h"

namespace keyrail {

struct PullRequest {
    static constexpr uint32_t kVersion = 1;
    uint32_t version = kVersion;
    uint16_t tls_version = 0;
    uint16_t service_slot = 0;  // of StoreControl::services
    SessionName name{};
};
static_assert(sizeof(PullRequest) == 40);

struct PullReply {
    static constexpr uint32_t kLookAgain = 0;  // it is in the store now; anything else: it is not
    uint32_t result = 1;
};

struct PullAddress {
    explicit PullAddress(const Store& store) {
        address.sun_family = AF_UNIX;
        // A first byte of zero: abstract (unix(7)).
        const int length = std::snprintf(
            &address.sun_path[1], sizeof address.sun_path - 1, "keyrail-pull-%llx-%llx",
            static_cast<unsigned long long>(store.device()), static_cast<unsigned long long>(store.inode()));
        size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length));
    }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }

    sockaddr_un address{};
    socklen_t size;
};

}  // namespace keyrail
