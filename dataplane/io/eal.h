// SPDX-License-Identifier: Apache-2.0
// DPDK's environment (EAL) started from a profile: memory, cores, devices.
#pragma once

#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/profile/profile.h"

namespace keyrail {

/// Whether a device string names a PCI device ("0000:03:00.0[,arguments]"); otherwise it is a virtual one.
bool is_pci_device(const std::string& device);

/// The command line for rte_eal_init. `prefix` keeps two dispatchers on one machine apart. Lcore 0 is the
/// control thread's, 1..workers are the workers', unless the profile's `cores` says otherwise.
std::vector<std::string> eal_arguments(const Profile& profile, const std::string& prefix);

/// Starts the EAL; checks for huge pages and lcores first, because its own messages do not say what to do.
Result<void> start_eal(const Profile& profile, const std::string& prefix);

}  // namespace keyrail
