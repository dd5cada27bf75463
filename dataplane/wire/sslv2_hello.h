// SPDX-License-Identifier: Apache-2.0
// The SSLv2-compatible ClientHello of old clients (RFC 5246 appendix E.2; RFC 6176 lets servers take it
// still).
#pragma once

#include "dataplane/wire/client_hello.h"

namespace keyrail {

/// The length of an SSLv2 record has its highest bit set, which no TLS content type has.
inline bool starts_like_sslv2(Bytes stream) { return !stream.empty() && (stream[0] & 0x80) != 0; }

HelloResult parse_sslv2_hello(Bytes stream, ClientHello& hello);

}  // namespace keyrail
