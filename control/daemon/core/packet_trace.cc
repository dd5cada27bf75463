// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/core/packet_trace.h"

#include <utility>

namespace keyrail {

void PacketTrace::begin(link::TraceStart wish, std::string actor, uint64_t unix_ms) {
    wish_ = std::move(wish);
    actor_ = std::move(actor);
    began_ms_ = unix_ms;
    number_++;
    lost_ = 0;
    why_.clear();
    records_.clear();
    state_ = State::running;
}

void PacketTrace::add(link::TraceRecords records) {
    if (state_ != State::running) return;
    for (link::TraceRecord& record : *records.mutable_records()) {
        if (records_.size() >= wish_.packets()) break;
        records_.push_back(std::move(record));
    }
    lost_ = records.lost();
    if (!records.ended().empty()) end(records.ended());
}

void PacketTrace::end(std::string why) {
    if (state_ != State::running) return;
    state_ = State::ended;
    why_ = std::move(why);
}

}  // namespace keyrail
