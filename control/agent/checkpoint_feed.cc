// SPDX-License-Identifier: Apache-2.0
#include "control/agent/checkpoint_feed.h"

namespace keyrail {

namespace {
constexpr std::chrono::milliseconds kIdleStep{100}, kBusyStep{5};
}

void CheckpointFeed::use(const ChannelPtr& channel) {
    checkpointer_.start_over();
    channel_ = channel;
}

void CheckpointFeed::step() {
    const auto now = std::chrono::steady_clock::now();
    checkpointer_.poll(now);
    const ChannelPtr channel = channel_.lock();
    chassis::Envelope message;
    uint64_t number = 0;
    const bool more = channel && allowed_ && channel->queued_bytes() < Checkpointer::kMaxBytes &&
                      checkpointer_.next(*message.mutable_checkpoint(), number, now);
    message.set_request(number);
    if (more) (void)channel->send(std::move(message));  // a broken channel starts over
    timer_.after(more ? kBusyStep : kIdleStep, [this] { step(); });
}

}  // namespace keyrail
