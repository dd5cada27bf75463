// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/proxy_header.h"

#include <algorithm>
#include <string_view>

namespace keyrail {
namespace {

using namespace std::string_view_literals;

bool begins(std::string_view text, std::string_view with) {
    const size_t n = std::min(text.size(), with.size());
    return text.substr(0, n) == with.substr(0, n);
}

/// Section 2.1: a line of at most 107 bytes, which ends with CR LF.
ProxyHeader read_v1(std::string_view text) {
    constexpr size_t kLongest = 107;
    const size_t end = text.substr(0, kLongest).find("\r\n"sv);
    if (end != std::string_view::npos) return {ProxyHeader::whole, static_cast<uint32_t>(end + 2)};
    if (text.size() >= kLongest) return {ProxyHeader::none};
    return {ProxyHeader::need_more, static_cast<uint32_t>(text.size() + 1)};
}

/// Section 2.2: signature, version and command, family, and how many bytes follow.
ProxyHeader read_v2(Bytes stream) {
    constexpr uint32_t kFixed = 16;
    constexpr uint8_t kVersion = 2;
    if (stream.size() < kFixed) return {ProxyHeader::need_more, kFixed};
    const uint32_t size = kFixed + load16(&stream[14]);
    if (stream[12] >> 4 != kVersion || size > kProxyHeaderMax) return {ProxyHeader::none};
    return {size <= stream.size() ? ProxyHeader::whole : ProxyHeader::need_more, size};
}

}  // namespace

ProxyHeader read_proxy_header(Bytes stream) {
    constexpr std::string_view kV1 = "PROXY "sv, kV2 = "\r\n\r\n\0\r\nQUIT\n"sv;
    const std::string_view text(reinterpret_cast<const char*>(stream.data()), stream.size());
    if (text.empty()) return {ProxyHeader::none};
    if (begins(text, kV1))
        return text.size() < kV1.size()
                   ? ProxyHeader{ProxyHeader::need_more, static_cast<uint32_t>(kV1.size())}
                   : read_v1(text);
    return begins(text, kV2) ? read_v2(stream) : ProxyHeader{ProxyHeader::none};
}

}  // namespace keyrail
