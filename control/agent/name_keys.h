// SPDX-License-Identifier: Apache-2.0
// The name keys that keyraild gave: tell the home of a session name (DESIGN.md section 4).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "control/protocol/session_home.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

class NameKeys {
  public:
    using Key = std::array<uint8_t, kNameKeySize>;

    void set(uint8_t generation, const Key& key) { openers_.insert_or_assign(generation, NameOpener(key)); }
    void clear() { openers_.clear(); }
    /// nullopt: not a name of this chassis, every bit of it, or its key is gone.
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const {
        const auto opener = openers_.find(name[0]);
        return opener != openers_.end() ? opener->second.home(name) : std::nullopt;
    }

  private:
    std::map<uint8_t, NameOpener> openers_;
};

}  // namespace keyrail
