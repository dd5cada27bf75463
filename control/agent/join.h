// SPDX-License-Identifier: Apache-2.0
// `keyrail-agent join`: this machine becomes a blade. Its key is made here and stays here; the token says
// which chassis to trust; what comes back is a certificate, and a configuration to run with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

struct JoinWish {
    std::string token;
    std::filesystem::path config;  // made if it is not there; else its certificate files are replaced
    std::string interface;         // empty: the one that has the blade's address
};

/// The files that were written. On an error none of those that were there has changed.
Result<std::vector<std::filesystem::path>> join_chassis(const JoinWish& wish);

}  // namespace keyrail
