// SPDX-License-Identifier: Apache-2.0
// What both sides say on every connection: real ClientHellos, each of which names a session of its own, and
// answers of the shape and size of a resumption's. Made once, at start.
//
// Only the ClientHello and the ServerHello can be read on the wire. What is encrypted in a real connection is
// as long here and made of noise.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/common/result.h"
#include "tools/lib/loadgen/conversation.h"
#include "tools/lib/loadgen/wire.h"

namespace keyrail::loadgen {

struct ScriptOptions {
    uint16_t tls_version = 0x0304;  // or 0x0303
    uint32_t hellos = 512;          // different ones, which take turns
    uint16_t blades = 3;            // homes of their sessions: 1 to `blades`, in turn
    std::vector<uint8_t> name_key;  // 16 bytes, as the dispatcher's
    uint8_t name_generation = 1;
};

class Script {
  public:
    static constexpr uint32_t kUnknown = ~uint32_t{0};

    static Result<Script> create(const ScriptOptions& options);

    [[nodiscard]] const Lengths& lengths() const { return lengths_; }
    [[nodiscard]] uint32_t hellos() const { return static_cast<uint32_t>(hellos_.size()); }
    /// The blade that has the session which this hello names.
    [[nodiscard]] uint16_t home(uint32_t hello) const { return static_cast<uint16_t>(hello % blades_ + 1); }
    /// The stream bytes behind these words; none for those that have no payload.
    [[nodiscard]] Payload payload(Say say, uint32_t hello) const;
    /// Which hello begins with these bytes; kUnknown: none of ours.
    [[nodiscard]] uint32_t recognise(std::span<const uint8_t> first_bytes) const;

  private:
    std::vector<std::vector<uint8_t>> bytes_;  // what the payloads point to
    std::vector<Payload> hellos_, flights_;
    Payload request_, response_;
    Lengths lengths_;
    uint16_t blades_ = 1;
};

}  // namespace keyrail::loadgen
