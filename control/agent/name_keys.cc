// SPDX-License-Identifier: Apache-2.0
#include "control/agent/name_keys.h"

#include <openssl/crypto.h>

#include "control/protocol/session_home.h"

namespace keyrail {

void NameKeys::clear() {
    for (auto& [generation, key] : keys_) OPENSSL_cleanse(key.data(), key.size());
    keys_.clear();
}

std::optional<BladeId> NameKeys::home(const SessionName& name) const {
    const auto key = keys_.find(name[0]);
    return key != keys_.end() ? home_of(name, key->second) : std::nullopt;
}

}  // namespace keyrail
