// SPDX-License-Identifier: Apache-2.0
// Stage `parse`, second half: the ClientHello at the start of a client's byte stream.
// Pure, allocation-free, no copies but for a handshake message that spans TLS records (RFC 8446 section 5.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/steer/session_name.h"

namespace keyrail {

using Bytes = std::span<const uint8_t>;

/// Longest ClientHello that is collected, TLS record headers included; a longer one is steered without its
/// name.
inline constexpr size_t kHelloLimit = 16 * 1024;
inline constexpr size_t kHelloScratch = kHelloLimit;

/// Views into the stream (or into the scratch buffer): they live as long as those bytes.
struct ClientHello {
    uint16_t legacy_version = 0;
    bool offers_tls13 = false;  // supported_versions has 0x0304
    bool early_data = false;
    Bytes session_id;      // <= 32 bytes
    Bytes server_name;     // first host_name of server_name, RFC 6066 section 3
    Bytes alpn;            // ProtocolNameList without its length, RFC 7301 section 3.1
    Bytes psk_identities;  // PskIdentity list without its length, RFC 8446 section 4.2.11
    bool has_psk = false;
};

enum class HelloStatus : uint8_t {
    complete,   // `hello` is filled in; `offset` = bytes of stream that it took
    need_more,  // fine so far; `offset` = stream bytes that are needed at least
    not_tls,    // the first bytes are no TLS handshake record; `offset` = the byte that says so
    malformed,  // `offset` = near where it stops to make sense
};

struct HelloResult {
    HelloStatus status;
    uint32_t offset;
};

/// Reads the ClientHello at the start of `stream`. `scratch` takes the message when it spans several records.
HelloResult parse_client_hello(Bytes stream, std::span<uint8_t, kHelloScratch> scratch, ClientHello& hello);

/// The session names that a hello offers, in its order: PSK identities where there are any, else the session
/// id; only those of our length. Returns how many of `names` were filled.
inline constexpr size_t kMaxNames = 4;
size_t session_names(const ClientHello& hello, std::array<SessionName, kMaxNames>& names);

}  // namespace keyrail
