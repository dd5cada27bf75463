// SPDX-License-Identifier: Apache-2.0
// Which connections has this blade's kernel (chassis.FindFlows)? Each is looked up exactly; how many, is
// bounded in a message and in a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "control/agent/sock_diag.h"

namespace keyrail {

namespace chassis {
class FindFlows;
class FlowsFound;
}  // namespace chassis

class FlowLookup {
  public:
    using Time = std::chrono::steady_clock::time_point;
    /// In a message, and in a second: 16 384 look-ups take 50 to 100 ms of a core.
    static constexpr int kMax = 256, kMaxASecond = 16'384;

    /// One answer for each of the question's first kMax flows.
    chassis::FlowsFound look(const chassis::FindFlows& question, Time now);

  private:
    [[nodiscard]] bool may_look(Time now);
    SockDiag::Found find(std::string_view client, uint32_t client_port, std::string_view address,
                         uint32_t port);

    std::optional<SockDiag> sockets_;  // opened when somebody asks
    Time second_{};
    int looked_ = 0;  // in it
};

}  // namespace keyrail
