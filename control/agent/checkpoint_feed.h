// SPDX-License-Identifier: Apache-2.0
// Sends keyraild what the Checkpointer has, a message at a time: moves must not wait behind many of them.
#pragma once

#include "control/agent/checkpointer.h"
#include "control/protocol/channel.h"
#include "control/protocol/timer.h"

namespace keyrail {

class CheckpointFeed {
  public:
    /// `checkpointer` outlives this.
    CheckpointFeed(const asio::any_io_executor& executor, Checkpointer& checkpointer)
        : checkpointer_(checkpointer), timer_(executor) {}

    /// Reads the journal from now on; sends when there is a channel and allow() was called.
    void start() { step(); }
    /// A new connection, on which keyraild was told which sessions are here: it is told of everything.
    void use(const ChannelPtr& channel);
    /// There is an assignment: it says which services are sealed.
    void allow() { allowed_ = true; }

  private:
    void step();

    Checkpointer& checkpointer_;
    std::weak_ptr<Channel> channel_;
    bool allowed_ = false;
    Timer timer_;
};

}  // namespace keyrail
