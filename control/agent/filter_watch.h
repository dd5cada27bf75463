// SPDX-License-Identifier: Apache-2.0
// When this blade's packet filter changes, the kernel says so (nf_tables, which iptables-nft uses, too): then
// what the accept program accepts may be lost, and is probed at once. Rules of iptables-legacy make no event:
// of those the agent hears by its next probe.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

namespace keyrail {

class FilterWatch {
  public:
    /// nullptr: this kernel has no such events.
    static std::shared_ptr<FilterWatch> open(const asio::any_io_executor& executor,
                                             std::function<void()> changed);
    FilterWatch(const asio::any_io_executor& executor, int fd, std::function<void()> changed)
        : events_(executor, fd), changed_(std::move(changed)) {}

  private:
    void wait(const std::weak_ptr<FilterWatch>& self);

    asio::posix::stream_descriptor events_;
    std::function<void()> changed_;
};

}  // namespace keyrail
