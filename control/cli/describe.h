// SPDX-License-Identifier: Apache-2.0
// The tree of commands as JSON: manual pages and completion of shells are made from it (documents.py).
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace keyrail::cli {

std::string describe(const CLI::App& app);

}  // namespace keyrail::cli
