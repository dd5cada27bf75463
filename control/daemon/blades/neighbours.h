// SPDX-License-Identifier: Apache-2.0
// Does a blade's machine answer at the lowest level (ARP, RFC 826; neighbour discovery, RFC 4861)? The kernel
// asks, and says so. A packet filter there that drops all else does not hide this, and a blade that answers
// has its flows.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>

#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

/// Is anybody there? A refused connection is an answer too: the machine lives, its agent does not listen.
asio::awaitable<bool> somebody_is_there(asio::any_io_executor executor, HostPort at,
                                        std::chrono::milliseconds timeout);

class Neighbours {
  public:
    static Result<Neighbours> open();
    Neighbours(Neighbours&& other) noexcept;
    Neighbours& operator=(Neighbours&&) = delete;
    ~Neighbours();

    /// Has the kernel ask, if it knows that neighbour; a connection to it has it ask, too.
    void ask(const IpAddress& address) const;
    /// It has answered, since it was asked. False also for what is behind a router.
    [[nodiscard]] bool answers(const IpAddress& address) const;

  private:
    explicit Neighbours(int fd) : fd_(fd) {}
    int fd_;
};

}  // namespace keyrail
