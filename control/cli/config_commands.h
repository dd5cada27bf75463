// SPDX-License-Identifier: Apache-2.0
// What the two files of `keyrail config` share.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "control/cli/command.h"
#include "dataplane/common/result.h"

namespace keyrail::cli {

Result<std::string> config_text(const std::filesystem::path& file);
/// What somebody loses by is marked.
void show_effects(const nlohmann::json& effects);
/// apply, confirm, cancel, rollback, reload.
void add_applying(CLI::App& config, Invocation& invocation);

}  // namespace keyrail::cli
