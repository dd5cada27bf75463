// SPDX-License-Identifier: Apache-2.0
// A client that does not exist: the frames that it would send, as a Linux client sends them, and its
// ClientHello.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/next_hop.h"
#include "dataplane/wire/headers.h"

namespace keyrail::explain {

using Bytes = std::vector<uint8_t>;

/// What its hello asks for.
struct Wishes {
    std::string server_name;
    std::vector<std::string> alpn;
    Bytes session;  // by this name; empty: none
    bool tls12 = false;
    bool early_data = false;
};
/// A ClientHello in one TLS record, of about 250 bytes.
Bytes client_hello(const Wishes& wishes);

class Client {
  public:
    /// `connection`: its tuple. Frames are for the port with the address `to`.
    Client(const Headers& connection, const MacAddress& to) : connection_(connection), to_(to) {}

    [[nodiscard]] Bytes syn() const;
    /// Takes what acknowledges the SYN from this frame.
    void answered(std::span<const uint8_t> syn_ack);
    [[nodiscard]] Bytes acknowledgement() const { return segment({}, 0, kAck); }
    /// The stream from its first byte on, in full segments.
    [[nodiscard]] std::vector<Bytes> data(std::span<const uint8_t> stream) const;

  private:
    [[nodiscard]] Bytes segment(std::span<const uint8_t> payload, uint32_t offset, uint8_t flags) const;
    [[nodiscard]] Bytes frame(uint32_t seq, uint32_t ack, uint8_t flags, std::span<const uint8_t> options,
                              std::span<const uint8_t> payload) const;

    const Headers connection_;
    const MacAddress to_;
    uint32_t cookie_ = 0x1000, tsval_ = 1;  // of a blade, if nobody else has answered
};

}  // namespace keyrail::explain
