// SPDX-License-Identifier: Apache-2.0
// What the blade's kernel must have, and how it must be set, before late binding can work (in the agent's own
// network namespace).
#pragma once

#include <string>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

/// "6.12.9-amd64", as `uname -r` says.
std::string kernel_release();

/// Error: the kernel has no bpf_sk_assign_tcp_reqsk, without which no server can be given a connection that
/// the dispatcher answered.
Result<void> check_kernel();

/// Settings with which the kernel would reset such connections, each as a sentence that says what to do.
/// `root`: where /proc/sys is (tests give another place).
std::vector<std::string> sysctl_problems(const std::string& root = "/proc/sys");

}  // namespace keyrail
