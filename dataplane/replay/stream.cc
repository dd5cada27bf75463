// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/stream.h"

#include <algorithm>

#include "dataplane/wire/proxy_header.h"
#include "dataplane/wire/sslv2_hello.h"

namespace keyrail::replay {
namespace {

/// As large as the dispatcher can be told to take them.
constexpr HelloLimits kLimits{.bytes = kHelloMax, .records = UINT16_MAX, .read_partial = true};

/// Record layer of any version: content types 20 (change_cipher_spec) to 24 (heartbeat), versions 3.x, and at
/// most 2^14 + 2048 bytes (RFC 5246 section 6.2.3). `bytes` may be cut short anywhere.
bool may_be_record(Bytes bytes) {
    constexpr uint8_t kFirstType = 20, kLastType = 24, kLastVersion = 4;
    constexpr size_t kLongest = 16384 + 2048;
    return (bytes.size() < 1 || (bytes[0] >= kFirstType && bytes[0] <= kLastType)) &&
           (bytes.size() < 2 || bytes[1] == 3) && (bytes.size() < 3 || bytes[2] <= kLastVersion) &&
           (bytes.size() < kRecordHeader || load16(&bytes[3]) <= kLongest);
}

/// Among records that follow others, one in 256 encrypted handshake messages begins like a ClientHello.
/// Length and version must fit, too, as soon as they are there.
bool is_doubtful(const HelloResult& result, const ClientHello& hello) {
    const bool version_there = result.status != HelloStatus::need_more || hello.legacy_version != 0;
    return result.status == HelloStatus::too_long || (version_there && hello.legacy_version >> 8 != 3);
}

}  // namespace

bool begins_hello(Bytes bytes) {
    return bytes.size() > kRecordHeader && may_be_record(bytes) && bytes[0] == kRecordHandshake &&
           bytes[kRecordHeader] == kClientHello;
}

Step HelloFinder::next_step(Stream& stream, Bytes bytes) {
    if (stream.skip > 0) {
        const auto n = static_cast<uint32_t>(std::min<size_t>(stream.skip, bytes.size()));
        stream.skip -= n;
        return {Step::skip, n};
    }
    const ProxyHeader proxy = stream.in_tls ? ProxyHeader{ProxyHeader::none} : read_proxy_header(bytes);
    if (proxy.kind == ProxyHeader::whole) return {Step::skip, proxy.size};
    if (proxy.kind == ProxyHeader::need_more)
        return {Step::more, proxy.size, {HelloStatus::need_more, proxy.size}};
    if (stream.in_tls && !bytes.empty() && starts_like_sslv2(bytes)) return pass_record(stream, bytes);
    const HelloResult result = parse_client_hello(bytes, scratch_, kLimits, hello_);
    const bool doubtful = stream.in_tls && is_doubtful(result, hello_);
    switch (result.status) {
        case HelloStatus::not_tls:
            break;
        case HelloStatus::need_more:
            if (doubtful) break;
            return {Step::more, result.offset, result};
        case HelloStatus::complete:
        case HelloStatus::malformed:
        case HelloStatus::too_long:
            if (doubtful) break;
            if (result.size > 0) {
                stream.in_tls = true;
                return {Step::hello, result.size, result};
            }
            if (!begins_hello(bytes)) break;
            const Step behind = pass_record(stream, bytes);
            return {Step::refused, behind.kind == Step::skip ? behind.bytes : 0, result};
    }
    return pass_record(stream, bytes);
}

/// Not a ClientHello: past its header, then, if it is a record at all.
Step HelloFinder::pass_record(Stream& stream, Bytes bytes) {
    stream.in_tls = may_be_record(bytes);
    if (!stream.in_tls) return {Step::segment};
    if (bytes.size() < kRecordHeader) return {Step::more, kRecordHeader};
    stream.skip = load16(&bytes[3]);
    return {Step::skip, kRecordHeader};
}

}  // namespace keyrail::replay
