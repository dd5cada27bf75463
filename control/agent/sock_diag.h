// SPDX-License-Identifier: Apache-2.0
// The kernel's list of TCP sockets (NETLINK_SOCK_DIAG) in the agent's own network namespace.
#pragma once

#include <linux/inet_diag.h>

#include <cstdint>
#include <functional>

#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

struct tcp_info;

namespace keyrail {

class SockDiag {
  public:
    // States of the kernel's net/tcp_states.h, as bits.
    static constexpr uint32_t kEstablished = 1U << 1, kListen = 1U << 10;

    static Result<SockDiag> open();
    SockDiag(SockDiag&& other) noexcept;
    SockDiag& operator=(SockDiag&&) = delete;
    ~SockDiag();

    enum class Presence : uint8_t { absent, present, time_wait, unknown };
    struct Found {
        Presence presence = Presence::unknown;
        uint32_t heard_ms = 0;  // present: since its peer was heard last
    };
    /// One connection, looked up exactly: a few microseconds, however many there are. A listener is none.
    Found find(const HostPort& local, const HostPort& peer);

    struct Details {
        const tcp_info* info = nullptr;  // where it was asked for
        bool v6_only = false;            // of a listener: no IPv4
        bool mptcp = false;              // it is MPTCP's (RFC 8684); said with info only
    };
    using Use = std::function<void(const inet_diag_msg&, const Details&)>;
    /// Every TCP socket in one of the states. False: the dump broke off.
    bool dump(uint32_t states, bool with_info, const Use& use);

  private:
    explicit SockDiag(int fd) : fd_(fd) {}
    bool ask(uint8_t family, uint32_t states, bool with_info) const;
    bool read_answer(const Use& use) const;
    [[nodiscard]] Found read_found(uint32_t number) const;
    int fd_;
    uint32_t number_ = 0;  // of the last look-up
};

/// A netlink socket for sock_diag; with `groups` it gets their events. -1 with errno.
int open_sock_diag(uint32_t groups);

/// The local address of a socket; all zero: every address.
HostPort local_of(const inet_diag_msg& message);

}  // namespace keyrail
