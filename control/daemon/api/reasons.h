// SPDX-License-Identifier: Apache-2.0
// Names of reasons and blades in answers, with what is known of them.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "control/daemon/config/config.h"
#include "dataplane/common/verdict.h"

namespace keyrail {

/// For people; "": there is no such reason.
inline std::string_view meaning_of_reason(std::string_view reason) {
    for (const ReasonText& text : kReasonTexts)
        if (text.name == reason) return text.text;
    return "";
}

/// null: none.
inline nlohmann::json blade_named(const Config& config, uint64_t id) {
    if (id == 0) return nullptr;
    const auto known = config.blades.find(BladeId::or_none(id));
    return {{"id", id}, {"name", known == config.blades.end() ? "" : known->second.name}};
}

}  // namespace keyrail
