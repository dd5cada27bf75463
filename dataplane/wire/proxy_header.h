// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol's header (HAProxy, doc/proxy-protocol.txt, versions 1 and 2), which a balancer in front
// of us may put before the client's first byte. It is stepped over, never believed: the server reads it.
// Pure.
#pragma once

#include <cstdint>

#include "dataplane/wire/cursor.h"

namespace keyrail {

/// Longer headers than this are not stepped over: addresses take 232 bytes at most, the rest is for TLVs.
inline constexpr uint32_t kProxyHeaderMax = 4096;

struct ProxyHeader {
    enum Kind : uint8_t {
        none,       // the stream does not begin with one
        need_more,  // it may; `size` = stream bytes that are needed at least
        whole,      // `size` bytes
    } kind;
    uint32_t size = 0;
};

ProxyHeader read_proxy_header(Bytes stream);

}  // namespace keyrail
