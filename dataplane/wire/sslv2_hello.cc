// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/sslv2_hello.h"

namespace keyrail {
namespace {

constexpr size_t kLength = 2;           // of the record; the rest counts from here
constexpr size_t kFixed = kLength + 9;  // up to the three lists
constexpr uint16_t kSsl2 = 0x0002;
constexpr size_t kCipherSpec = 3, kIdMax = 32, kChallengeMin = 16, kChallengeMax = 32;

/// SSL 2.0 itself is nothing that a server still speaks, but it is a ClientHello.
bool known_version(uint16_t version) { return version >> 8 == 3 || version == kSsl2; }

/// Arbitrary bytes may begin like this: only lengths that add up to the record's make it a hello.
bool lengths_agree(size_t record, size_t ciphers, size_t id, size_t challenge) {
    return ciphers % kCipherSpec == 0 && ciphers > 0 && id <= kIdMax && challenge >= kChallengeMin &&
           challenge <= kChallengeMax && kFixed - kLength + ciphers + id + challenge == record;
}

}  // namespace

HelloResult parse_sslv2_hello(Bytes stream, ClientHello& hello) {
    const auto not_tls = [](uint32_t offset) { return HelloResult{HelloStatus::not_tls, offset}; };
    if (stream.size() > 2 && stream[2] != kClientHello) return not_tls(2);
    if (stream.size() > 4 && !known_version(load16(&stream[3]))) return not_tls(3);
    if (stream.size() < kFixed) return {HelloStatus::need_more, kFixed};
    const size_t record = load16(stream.data()) & 0x7fffu;
    const size_t ciphers = load16(&stream[5]), id = load16(&stream[7]), challenge = load16(&stream[9]);
    if (!lengths_agree(record, ciphers, id, challenge)) return not_tls(kFixed);
    const auto size = static_cast<uint32_t>(kLength + record);
    if (stream.size() < size) return {HelloStatus::need_more, size};
    hello.sslv2 = true;
    hello.legacy_version = hello.version = load16(&stream[3]);
    hello.session_id = stream.subspan(kFixed + ciphers, id);
    return {HelloStatus::complete, size, size, 1};
}

}  // namespace keyrail
