// SPDX-License-Identifier: Apache-2.0
// Takes a sample for Daemon::trend() every few seconds.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>

#include "control/daemon/core/daemon.h"

namespace keyrail {

/// For ever; the daemon outlives it, or its executor runs no more.
asio::awaitable<void> sample_trend(Daemon& daemon, asio::any_io_executor executor);

}  // namespace keyrail
