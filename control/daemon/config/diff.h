// SPDX-License-Identifier: Apache-2.0
// What is different between two configurations: by object and key, not by line; order does not count where it
// means nothing. Pure.
#pragma once

#include <string>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

struct ConfigChange {
    std::string object;         // "[chassis]", "[[service]] www", "[[service]] www route www.example.com"
    std::string key;            // "": the object as a whole
    std::string before, after;  // as TOML writes it; "": not there
    bool operator==(const ConfigChange&) const = default;
};

/// Both must be TOML.
Result<std::vector<ConfigChange>> diff_configs(const std::string& before, const std::string& after);

}  // namespace keyrail
