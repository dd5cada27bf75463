// SPDX-License-Identifier: Apache-2.0
// What both sides say on every connection: real ClientHellos, each of which names a session of its own, and
// answers of the shape and size of a resumption's. Made once, at start.
//
// Only the ClientHello and the ServerHello can be read on the wire. What is encrypted in a real connection is
// as long here and made of noise. Each hello has its number in its random, so that it is known by its first
// segment, wherever its session's name lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"
#include "tools/lib/loadgen/conversation.h"
#include "tools/lib/loadgen/wire.h"

namespace keyrail::loadgen {

struct ScriptOptions {
    TlsVersion tls_version = TlsVersion::tls13;  // or TLS 1.2
    /// TLS 1.3: the X25519MLKEM768 share that clients send today. A hello takes two segments with it, one
    /// without.
    bool post_quantum = true;
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
    /// The stream bytes behind these words, a segment each; one empty segment for words without payload.
    [[nodiscard]] std::span<const Payload> segments(Say say, uint32_t hello) const;
    [[nodiscard]] uint16_t hello_segments() const { return hello_segments_; }
    /// Which hello begins with these bytes; kUnknown: none of ours.
    [[nodiscard]] uint32_t recognise(std::span<const uint8_t> first_bytes) const;
    /// These are the hello's bytes from `offset` on, as far as the hello goes.
    [[nodiscard]] bool has(uint32_t hello, size_t offset, std::span<const uint8_t> bytes) const;

  private:
    [[nodiscard]] Result<void> keep_hello(std::vector<uint8_t> hello);
    Payload keep(std::vector<uint8_t> bytes);

    std::vector<std::vector<uint8_t>> bytes_;  // what the payloads point to
    std::vector<std::span<const uint8_t>> hellos_;
    std::vector<Payload> pieces_;  // of all hellos, hello_segments_ of each
    std::vector<Payload> flights_;
    Payload request_, response_;
    Lengths lengths_;
    uint16_t blades_ = 1, hello_segments_ = 1;
};

}  // namespace keyrail::loadgen
