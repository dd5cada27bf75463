// SPDX-License-Identifier: Apache-2.0
// A blade's TLS server asks its agent for a session that it does not have: one request and one reply of plain
// data over an abstract unix SOCK_SEQPACKET socket (reachable from a chroot). The socket's name stands in the
// store's control block, so that a process that has the store finds the agent that owns it, and nobody else
// can be there before it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "dataplane/common/session_name.h"

namespace keyrail {

struct PullRequest {
    static constexpr uint32_t kVersion = 1;
    uint32_t version = kVersion;
    TlsVersion tls_version = TlsVersion::unknown;
    uint16_t service_slot = 0;  // of StoreControl::services
    SessionName name{};
};
static_assert(sizeof(PullRequest) == 40);

struct PullReply {
    static constexpr uint32_t kLookAgain = 0;  // it is in the store now; anything else: it is not
    uint32_t result = 1;
};

struct PullAddress {
    explicit PullAddress(const std::array<uint8_t, 16>& number) {
        address.sun_family = AF_UNIX;
        // A first byte of zero: abstract (unix(7)).
        char* at = &address.sun_path[1];
        for (const char c : std::string_view("keyrail-pull-")) *at++ = c;
        for (const uint8_t byte : number) {
            *at++ = "0123456789abcdef"[byte >> 4];
            *at++ = "0123456789abcdef"[byte & 15];
        }
        size = static_cast<socklen_t>(at - reinterpret_cast<char*>(&address));
    }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }

    sockaddr_un address{};
    socklen_t size;
};

}  // namespace keyrail
