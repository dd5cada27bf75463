// SPDX-License-Identifier: Apache-2.0
// What a purge means: one session, those of a service, or all.
#pragma once

#include <optional>

#include "chassis.pb.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

struct Purged {
    std::optional<SessionName> name;
    ServiceId service;  // without name and service: everything

    /// nullopt: it makes no sense.
    static std::optional<Purged> from(const chassis::Purge& message) {
        if (message.all()) return Purged{};
        if (!message.service().empty()) return Purged{std::nullopt, ServiceId::of(message.service())};
        const auto name = name_from(message.name());
        return name ? std::optional(Purged{name, {}}) : std::nullopt;
    }
    [[nodiscard]] bool everything() const { return !name && !service.known(); }
    /// A session whose service nobody knows may be of this one.
    [[nodiscard]] bool means(const SessionName& session, ServiceId session_service) const {
        if (name) return *name == session;
        return !service.known() || !session_service.known() || session_service == service;
    }
};

}  // namespace keyrail
