// SPDX-License-Identifier: Apache-2.0
// A commented configuration to begin with, and every key that there is. Names, types and bounds come from the
// parser itself, as it reads the example; what a key means stands here. A test finds a key without words, and
// words without a key.
#pragma once

#include <string>
#include <vector>

namespace keyrail {

struct AskedKey;

struct KeyReference {
    std::string table, key, type;  // "[[service]]", "idle_timeout", "duration, 1min to 30d"
    bool required = false;
    std::string otherwise;  // what holds without it; "" where it is required, or nothing does
    std::string meaning;    // "": nobody has written it
    std::string since;      // the release that had it first
};

/// Has every table, so that the parser asks for every key.
extern const char* const kExampleConfig;

/// In the order in which the parser asks.
std::vector<KeyReference> config_reference();

/// What the parser asks for while it reads this text.
std::vector<AskedKey> keys_asked_of(std::string text);

}  // namespace keyrail
