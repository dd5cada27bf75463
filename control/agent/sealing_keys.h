// SPDX-License-Identifier: Apache-2.0
// The keys of the repository's sealed sessions, as the checkpointer uses them.
#pragma once

#include <cstdint>
#include <string>

#include "control/repository/sealer.h"

namespace keyrail {

/// Where the keys of sealed sessions are.
class SealingKeys {
  public:
    virtual ~SealingKeys() = default;
    struct Current {
        uint32_t generation = 0;
        const SealingKey* key = nullptr;  // nullptr: there is none (yet)
    };
    [[nodiscard]] virtual Current current(const std::string& service) const = 0;
    [[nodiscard]] virtual const SealingKey* find(const std::string& service, uint32_t generation) const = 0;
};

}  // namespace keyrail
