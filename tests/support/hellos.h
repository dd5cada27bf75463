// SPDX-License-Identifier: Apache-2.0
// Real ClientHellos, made by OpenSSL in this process: no bytes from memory, no guessing what a client would
// send.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/common/session_name.h"

namespace keyrail::test {

struct HelloOptions {
    int max_version = 0x0304;  // 0x0303: a TLS 1.2 client
    std::string server_name = "www.keyrail.test";
    std::vector<uint8_t> alpn;        // wire format, e.g. "\x02h2"
    std::optional<SessionName> name;  // the client offers to resume this session
    std::vector<uint8_t> ticket;      // or the session in this ticket of a server without our hooks
    bool early_data = false;
    size_t padding = 0;  // > 0: an unknown extension of that size, before the PSK
};

/// The bytes that the client puts on the wire: its ClientHello in one TLS record.
std::vector<uint8_t> client_hello(const HelloOptions& options = {});

/// The same handshake message cut into TLS records of at most `size` bytes of content.
std::vector<uint8_t> in_records_of(const std::vector<uint8_t>& one_record, size_t size);

}  // namespace keyrail::test
