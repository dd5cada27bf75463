// SPDX-License-Identifier: Apache-2.0
// The agent: store, accept program, server watch, and the connections to keyraild and to the other agents,
// put together. One thread, one io_context.
#pragma once

#include <asio/io_context.hpp>
#include <memory>

#include "control/agent/config.h"
#include "dataplane/common/result.h"

namespace keyrail {

class Agent {
  public:
    /// Makes or re-attaches everything that does not need keyraild. From then on it runs with `io`.
    static Result<std::unique_ptr<Agent>> start(asio::io_context& io, AgentConfig config);
    ~Agent();
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    struct Impl;

  private:
    explicit Agent(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
