// SPDX-License-Identifier: Apache-2.0
// FlowQuestions: the dataplane asks whose a connection is, and the agents of the blades that may have it
// look. Who is asked, and when; what the answers mean is FlowFinder's.
#pragma once

#include <functional>

#include "control/daemon/blades/agents.h"
#include "control/daemon/blades/blades.h"
#include "control/daemon/blades/flow_finder.h"
#include "control/protocol/timer.h"

namespace keyrail {

class FlowQuestions {
  public:
    FlowQuestions(const asio::any_io_executor& executor, const Blades& blades, Agents& agents,
                  std::function<void(const link::FlowAnswer&)> answer);

    void ask(const link::FlowAsk& ask);
    void found(BladeId blade, const chassis::FlowsFound& found) { finder_.found(blade, found); }
    void forget() { finder_.forget(); }
    /// Its agent is away.
    void lost(BladeId blade) { finder_.lost(blade); }
    void stop() { timer_.cancel(); }

  private:
    void send();

    const Blades& blades_;
    Agents& agents_;
    FlowFinder finder_;
    Timer timer_;
};

}  // namespace keyrail
