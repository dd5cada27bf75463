// SPDX-License-Identifier: Apache-2.0
// Session names as keys of hash tables. Their bytes are AES output and random: eight of them are a hash.
#pragma once

#include <cstring>

#include "dataplane/common/session_name.h"

namespace keyrail {

struct SessionNameHash {
    size_t operator()(const SessionName& name) const {
        size_t hash = 0;
        std::memcpy(&hash, &name[kNameBlockOffset], sizeof hash);
        return hash;
    }
};

}  // namespace keyrail
