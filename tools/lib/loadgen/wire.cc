// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/wire.h"

#include "dataplane/cookie/syn_cookie.h"

namespace keyrail::loadgen {
namespace {

constexpr size_t kIp = kEthernetSize, kTcp = kIp + 20, kOptions = kTcp + 20;
constexpr uint16_t kWindow = 64240;

/// MSS, SACK permitted, timestamps, window scale 7, as Linux orders them.
void write_syn_options(HeaderWriter& tcp, uint32_t tsval, uint32_t tsecr) {
    tcp.put_raw(wire(kMssWord | 1460));
    tcp.put_raw(kSackAndTimestamps);
    tcp.put(tsval);
    tcp.put(tsecr);
    tcp.put_raw(wire(kWscaleWord | 7));
}

void write_options(HeaderWriter& tcp, uint32_t tsval, uint32_t tsecr) {
    tcp.put_raw(kTimestampsAlone);
    tcp.put(tsval);
    tcp.put(tsecr);
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
    const bool syn = (segment.flags & kSyn) != 0;
    const uint32_t header = syn ? 40 : 32, size = header + payload.size;
    HeaderWriter tcp(out + kTcp);
    tcp.count(write_ipv4(out + kIp, path.source, path.destination, size) + payload.sum);
    tcp.put(uint32_t{path.source_port} << 16 | path.destination_port);
    tcp.put(segment.seq.value());
    tcp.put(segment.ack.value());
    tcp.put(header / 4 << 28 | uint32_t{segment.flags} << 16 | kWindow);
    tcp.put_raw(0);  // checksum, urgent pointer
    syn ? write_syn_options(tcp, segment.tsval, tsecr) : write_options(tcp, segment.tsval, tsecr);
    tcp.put_checksum(out + kTcp + 16);
    if (payload.size != 0) std::memcpy(tcp.at(), payload.data, payload.size);
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
        out.segment.tsval = read_syn_options(frame.subspan(kOptions, header - 20)).tsval();
    else if (header >= 32 && load32_raw(p + kOptions) == kTimestampsAlone)
        out.segment.tsval = load32(p + kOptions + 4);
    return true;
}

}  // namespace keyrail::loadgen
