// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/proxy_header.h"

#include <gtest/gtest.h>

#include <string>

namespace keyrail {
namespace {

ProxyHeader read(const std::string& text) {
    return read_proxy_header({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

std::string version2(size_t size, char version = '\x21') {
    return std::string("\r\n\r\n\0\r\nQUIT\n", 12) + version + '\x11' + static_cast<char>(size >> 8) +
           static_cast<char>(size & 0xff) + std::string(size, 'x');
}

TEST(ProxyHeaderTest, WholeOnesAreStepped) {
    for (const std::string& header :
         {std::string("PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n"),
          std::string("PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n"), std::string("PROXY UNKNOWN\r\n"),
          version2(0), version2(12), version2(36), version2(216), version2(kProxyHeaderMax - 16),
          version2(12, '\x20')}) {
        const ProxyHeader whole = read(header + "behind it");
        EXPECT_EQ(whole.kind, ProxyHeader::whole) << header;
        EXPECT_EQ(whole.size, header.size());
        for (size_t n = 1; n < header.size(); n++) {
            const ProxyHeader part = read(header.substr(0, n));
            ASSERT_EQ(part.kind, ProxyHeader::need_more) << n << " bytes of " << header;
            EXPECT_GT(part.size, n);
            EXPECT_LE(part.size, header.size()) << "as much as is needed at least";
        }
    }
}

TEST(ProxyHeaderTest, WhatIsNone) {
    for (const std::string& other :
         {std::string(), std::string("GET / HTTP/1.1\r\n"), std::string("PROXX"), std::string("\x16\x03\x01"),
          std::string("POST"), "PROXY " + std::string(200, 'x') + "\r\n", version2(12, '\x11'),
          version2(kProxyHeaderMax), std::string("\r\n\r\n\r\n")})
        EXPECT_EQ(read(other).kind, ProxyHeader::none) << other;
}

}  // namespace
}  // namespace keyrail
