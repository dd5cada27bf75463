// SPDX-License-Identifier: Apache-2.0
// The name keys that keyraild gave: tell the home of a session name (DESIGN.md section 4).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "dataplane/common/session_name.h"

namespace keyrail {

class NameKeys {
  public:
    using Key = std::array<uint8_t, kNameKeySize>;

    NameKeys() = default;
    NameKeys(const NameKeys&) = delete;
    NameKeys& operator=(const NameKeys&) = delete;
    ~NameKeys() { clear(); }

    void set(uint8_t generation, const Key& key) { keys_[generation] = key; }
    void clear();
    /// nullopt: not a name of this chassis, every bit of it, or its key is gone.
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const;

  private:
    std::map<uint8_t, Key> keys_;
};

}  // namespace keyrail
