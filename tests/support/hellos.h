// SPDX-License-Identifier: Apache-2.0
// Real ClientHellos, made by OpenSSL in this process: no bytes from memory, no guessing what a client would
// send. One thing OpenSSL 3.0 cannot make: the post-quantum key share of today's clients. It is put into what
// OpenSSL made, in the places and sizes that OpenSSL 3.5 has it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/common/session_name.h"

namespace keyrail::test {

struct HelloOptions {
    TlsVersion max_version = TlsVersion::tls13;
    std::string server_name = "www.keyrail.test";
    std::vector<uint8_t> alpn;        // wire format, e.g. "\x02h2"
    std::optional<SessionName> name;  // the client offers to resume this session
    std::vector<uint8_t> ticket;      // or the session in this ticket of a server without our hooks
    bool early_data = false;
    size_t padding = 0;  // > 0: an unknown extension of that size, before the PSK
    /// TLS 1.3: an X25519MLKEM768 key share before that of X25519, as clients send by default since 2025.
    /// With it a hello takes two segments; without, one.
    bool post_quantum = true;
};

/// Payload of a full segment: an MSS of 1460 less the timestamps.
inline constexpr size_t kFullSegment = 1448;

/// The bytes that the client puts on the wire: its ClientHello in one TLS record.
std::vector<uint8_t> client_hello(const HelloOptions& options = {});

/// The same handshake message cut into TLS records of at most `size` bytes of content.
std::vector<uint8_t> in_records_of(const std::vector<uint8_t>& one_record, size_t size);

}  // namespace keyrail::test
