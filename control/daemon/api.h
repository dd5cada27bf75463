// SPDX-License-Identifier: Apache-2.0
// The API's resources (control/README.md lists them): from the daemon's state to JSON, and the operator's
// wishes.
#pragma once

#include <asio/awaitable.hpp>

#include "control/daemon/api_server.h"
#include "control/daemon/daemon.h"

namespace keyrail {

/// Answers one request; runs on the daemon's thread. The daemon outlives it.
asio::awaitable<ApiReply> answer_api(Daemon& daemon, ApiRequest request);

}  // namespace keyrail
