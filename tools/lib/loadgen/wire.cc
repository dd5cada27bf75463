// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/wire.h"

#include "dataplane/bind/syn_cookie.h"

namespace keyrail::loadgen {
namespace {

constexpr size_t kIp = kEthernetSize, kTcp = kIp + 20, kOptions = kTcp + 20;
constexpr uint32_t kTimestampsAlone = 0x0101080a;  // NOP, NOP, kind 8, length 10: RFC 7323 appendix A
constexpr uint16_t kWindow = 64240;

/// Sums words as they lie in memory: the checksum does not depend on byte order (RFC 1071 section 2 B).
uint64_t sum_words(const uint8_t* bytes, size_t words32) {
    uint64_t sum = 0;
    for (size_t i = 0; i < words32; i++) sum += load32_raw(bytes + 4 * i);
    return sum;
}

/// As it is stored.
uint16_t folded(uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16)));
}

void store_raw(uint8_t* p, uint16_t v) { std::memcpy(p, &v, sizeof v); }
void store_raw(uint8_t* p, uint32_t v) { std::memcpy(p, &v, sizeof v); }

void write_ip(uint8_t* ip, const Path& path, size_t size) {
    store32(ip, 0x45000000u | static_cast<uint32_t>(size));
    store32(ip + 4, 0x00004000);  // don't fragment
    store32(ip + 8, 64u << 24 | kProtocolTcp << 16);
    store_raw(ip + 12, path.source);
    store_raw(ip + 16, path.destination);
    store_raw(ip + 10, folded(sum_words(ip, 5)));
}

/// MSS, SACK permitted, timestamps, window scale 7, as Linux orders them.
size_t write_syn_options(uint8_t* options, uint32_t tsval, uint32_t tsecr) {
    store32(options, 0x020405b4);
    store32(options + 4, 0x0402080a);
    store32(options + 8, tsval);
    store32(options + 12, tsecr);
    store32(options + 16, 0x01030307);
    return 20;
}

size_t write_options(uint8_t* options, uint32_t tsval, uint32_t tsecr) {
    store32(options, kTimestampsAlone);
    store32(options + 4, tsval);
    store32(options + 8, tsecr);
    return 12;
}

}  // namespace

Payload payload_of(std::span<const uint8_t> bytes) {
    Payload payload{bytes.data(), static_cast<uint16_t>(bytes.size()), 0};
    for (size_t i = 0; i < bytes.size(); i++) payload.sum += uint32_t{bytes[i]} << (i % 2 ? 8 : 0);
    return payload;
}

uint16_t write_frame(uint8_t* out, const Path& path, const Segment& segment, uint32_t tsecr,
                     const Payload& payload) {
    std::memcpy(out, path.to.data(), 6);
    std::memcpy(out + 6, path.from.data(), 6);
    store16(out + 12, kEtherTypeIpv4);
    uint8_t* tcp = out + kTcp;
    const size_t header = 20 + (segment.flags & kSyn ? write_syn_options(out + kOptions, segment.tsval, tsecr)
                                                     : write_options(out + kOptions, segment.tsval, tsecr));
    store16(tcp, path.source_port);
    store16(tcp + 2, path.destination_port);
    store32(tcp + 4, segment.seq);
    store32(tcp + 8, segment.ack);
    store32(tcp + 12, static_cast<uint32_t>(header / 4 << 28 | segment.flags << 16 | kWindow));
    store32(tcp + 16, 0);
    const size_t size = header + payload.size;
    write_ip(out + kIp, path, 20 + size);
    const uint64_t pseudo =
        uint64_t{path.source} + path.destination +
        __builtin_bswap32(static_cast<uint32_t>(kProtocolTcp << 16 | size));  // RFC 9293 section 3.1
    store_raw(tcp + 16, folded(pseudo + sum_words(tcp, header / 4) + payload.sum));
    if (payload.size != 0) std::memcpy(tcp + header, payload.data, payload.size);
    return static_cast<uint16_t>(kTcp + size);
}

bool read_frame(std::span<const uint8_t> frame, Received& out) {
    const uint8_t* p = frame.data();
    if (frame.size() < kOptions || load16(p + 12) != kEtherTypeIpv4) return false;
    const uint8_t* ip = p + kIp;
    const size_t total = load16(ip + 2);
    if (ip[0] != 0x45 || ip[9] != kProtocolTcp || kIp + total > frame.size()) return false;
    const uint8_t* tcp = p + kTcp;
    const size_t header = size_t{tcp[12]} >> 4 << 2;
    if (header < 20 || 20 + header > total) return false;
    out.source = load32_raw(ip + 12);
    out.destination = load32_raw(ip + 16);
    out.source_port = load16(tcp);
    out.destination_port = load16(tcp + 2);
    const uint16_t to = load16(p + 4);
    out.blade = load32_raw(p) == 0x00000002 && to >= 0xb001 && to <= 0xb000 + kBlades ? to - 0xb000 : 0;
    out.payload = frame.subspan(kTcp + header, total - 20 - header);
    out.segment = {.flags = tcp[13],
                   .size = static_cast<uint16_t>(out.payload.size()),
                   .seq = load32(tcp + 4),
                   .ack = load32(tcp + 8)};
    if (out.segment.flags & kSyn)
        out.segment.tsval = read_syn_options(frame.subspan(kOptions, header - 20)).tsval;
    else if (header >= 32 && load32(p + kOptions) == kTimestampsAlone)
        out.segment.tsval = load32(p + kOptions + 4);
    return true;
}

}  // namespace keyrail::loadgen
