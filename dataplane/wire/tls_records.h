// SPDX-License-Identifier: Apache-2.0
// The first handshake message of a byte stream, gathered from its TLS records (RFC 8446 section 5.1).
// Pure, allocation-free; a message that lies in one record is a view, only one that spans several is copied.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/wire/cursor.h"

namespace keyrail {

/// Longest ClientHello that is ever collected, TLS record headers included, and the longest by default.
inline constexpr uint32_t kHelloMax = 64 * 1024;
inline constexpr uint32_t kHelloDefault = 16 * 1024;

struct HelloLimits {
    uint32_t bytes = kHelloDefault;  // of the stream
    uint16_t records = 64;           // one-byte records must not cost more than they are worth
    bool read_partial =
        false;  // also what there is of a hello that needs more: for captures, not for packets
    bool proxy_header = false;  // one in front of the hello is stepped over, and is not counted in `bytes`
};

enum class HelloStatus : uint8_t {
    complete,   // `offset` = stream bytes that it took
    need_more,  // fine so far; `offset` = stream bytes that are needed at least
    not_tls,    // the first bytes are no ClientHello; `offset` = the byte that says so
    malformed,  // `offset` = where it stops to make sense
    too_long,   // more bytes or records than the limits allow; `offset` = where it says so
};

inline constexpr uint8_t kRecordHandshake = 22, kClientHello = 1;
inline constexpr size_t kRecordHeader = 5, kMessageHeader = 4, kHelloHeaders = kRecordHeader + kMessageHeader;

struct HandshakeMessage {
    HelloStatus status;
    uint32_t offset;   // see HelloStatus
    uint16_t records;  // that it lies in, so far
    Bytes body;        // without the handshake header, as much as is there
};

/// The ClientHello message at the start of `stream`; `scratch` takes it when it spans several records.
HandshakeMessage first_message(Bytes stream, std::span<uint8_t> scratch, const HelloLimits& limits);

/// Where the ClientHello ends that begins here, if its headers are here and say that it lies in one record
/// and within the limit, as nearly all do; its end need not be here. 0: first_message() says what it is.
size_t end_in_one_record(Bytes stream, size_t limit);

/// Where byte `offset` of the first handshake message lies in the stream of its records.
uint32_t stream_offset(Bytes stream, size_t offset);

}  // namespace keyrail
