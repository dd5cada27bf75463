// SPDX-License-Identifier: Apache-2.0
// Identity: its one textual form, both ways.
#include "control/protocol/identity.h"

#include <charconv>

#include "dataplane/common/session_name.h"

namespace keyrail {

namespace {
constexpr std::string_view kControl = "keyrail:control";
constexpr std::string_view kBlade = "keyrail:blade:";
}  // namespace

Result<Identity> Identity::from_uri(std::string_view uri) {
    if (uri == kControl) return control();
    if (uri.starts_with(kBlade)) {
        const std::string_view digits = uri.substr(kBlade.size());
        unsigned id = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
        const bool whole = error == std::errc{} && end == digits.data() + digits.size();
        if (whole && digits.front() != '0' && id >= BladeId::kMin && id <= BladeId::kMax)
            return of_blade(BladeId::or_none(id));
    }
    return fail("'{}' names nobody of a chassis (expected keyrail:control or keyrail:blade:<1..4095>)", uri);
}

std::string Identity::uri() const {
    return is_control() ? std::string(kControl) : fmt::format("{}{}", kBlade, blade);
}

std::string Identity::text() const {
    if (is_stranger()) return "a stranger";
    return is_control() ? "control" : fmt::format("blade {}", blade);
}

}  // namespace keyrail
