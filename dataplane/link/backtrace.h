// SPDX-License-Identifier: Apache-2.0
// Where another thread of this process is, by a signal (SIGUSR2) that has it look at its own stack. For a
// thread that does not move any more; not for hot paths.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace keyrail {

/// Once, before the first trace_of(): takes SIGUSR2, and loads what must not be loaded in a signal's handler.
void prepare_backtraces();

/// Innermost first, a line for each call: "keyrail-dp+0x1c2d3e", and the function where it is known
/// (dladdr(3)). Else `addr2line -Cfipe keyrail-dp 0x1c2d3e` knows. Empty: the thread does not take signals
/// any more, or has gone.
std::vector<std::string> trace_of(pid_t thread, std::chrono::milliseconds patience);

}  // namespace keyrail
