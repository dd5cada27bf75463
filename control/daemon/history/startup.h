// SPDX-License-Identifier: Apache-2.0
// Which configuration keyraild comes up on: its own file if that has changed since it was looked at last,
// else the revision that was in force. So what was rolled back stays so over a restart, and a file that is
// edited is taken, as ever.
#pragma once

#include "control/daemon/config/config.h"
#include "control/daemon/history/history.h"

namespace keyrail {

struct Startup {
    Config config;
    History history;
    std::vector<std::string> remarks;  // for the log
    bool as_wanted = true;             // false: the file is wrong, or what was on trial is rolled back
};

/// An error names all mistakes.
Result<Startup> choose_configuration(const std::filesystem::path& file);

}  // namespace keyrail
