// SPDX-License-Identifier: Apache-2.0
// The trace that an operator has asked for, and the packets that keyrail-dp has told of so far. There is one;
// it stays until the next one begins. Bounded by what keyrail-dp takes (dataplane/link/trace_run.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "link.pb.h"

namespace keyrail {

class PacketTrace {
  public:
    using Clock = std::chrono::steady_clock;
    enum class State : uint8_t { none, running, ended };

    [[nodiscard]] State state() const { return state_; }
    /// keyrail-dp has taken it.
    void begin(link::TraceStart wish, std::string actor, uint64_t unix_ms);
    /// What keyrail-dp tells.
    void add(link::TraceRecords records);
    /// It will tell no more.
    void end(std::string why);

    [[nodiscard]] uint64_t number() const { return number_; }  // of this trace, from 1
    [[nodiscard]] const link::TraceStart& wish() const { return wish_; }
    [[nodiscard]] const std::string& actor() const { return actor_; }
    [[nodiscard]] uint64_t began_ms() const { return began_ms_; }
    [[nodiscard]] const std::vector<link::TraceRecord>& records() const { return records_; }
    [[nodiscard]] uint64_t lost() const { return lost_; }
    [[nodiscard]] const std::string& why() const { return why_; }

  private:
    State state_ = State::none;
    uint64_t number_ = 0;
    link::TraceStart wish_;
    std::string actor_, why_;
    uint64_t began_ms_ = 0, lost_ = 0;
    std::vector<link::TraceRecord> records_;
};

}  // namespace keyrail
