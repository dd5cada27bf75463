// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/syn_cookie.h"

#include "dataplane/bind/cookie_macs.h"
#include "dataplane/rewrite/header_writer.h"
#include "dataplane/rewrite/macs.h"

namespace keyrail {
namespace {

/// The SYN-ACK's options, each padded to a word.
void write_options(HeaderWriter& tcp, const SynOptions& syn, bool ipv6, uint32_t tsval) {
    // What the blades' backplane carries, and the classes know.
    tcp.put_raw(ipv6 ? wire(kMssWord | 1440) : wire(kMssWord | 1460));
    if (syn.timestamp) {  // SACK-permitted rides in the padding of the timestamp, as Linux does it
        tcp.put_raw(syn.sack ? kSackAndTimestamps : kTimestampsAlone);
        tcp.put(tsval);
        tcp.put_raw(syn.tsval_raw);
    } else if (syn.sack) {
        tcp.put_raw(kSackAlone);
    }
    if (syn.wscale != KR_COOKIE_NO_WSCALE) tcp.put_raw(wire(kWscaleWord | KR_COOKIE_WSCALE));
}

/// Returns the sum of the pseudo header.
uint64_t write_ip(uint8_t* ip, const Headers& syn, uint32_t tcp_length) {
    const Tuple& t = syn.tuple;
    if (syn.ipv6) return write_ipv6(ip, t.destination, t.source, tcp_length);
    return write_ipv4(ip, load32_raw(&t.destination[12]), load32_raw(&t.source[12]), tcp_length);
}

}  // namespace

SynOptions read_any_options(std::span<const uint8_t> options) {
    SynOptions syn = kNoOptions;
    each_option(options, [&](uint8_t kind, std::span<const uint8_t> value) {
        if (kind == kMss && value.size() == 2) syn.mss = load16(value.data());
        if (kind == kWscale && value.size() == 1) syn.wscale = std::min(value[0], kWscaleMax);
        if (kind == kSackPermitted && value.empty()) syn.sack = true;
        if (kind == kTimestamp && value.size() == 8) {
            syn.timestamp = true;
            syn.tsval_raw = load32_raw(value.data());
        }
    });
    return syn;
}

uint16_t write_syn_ack(std::span<uint8_t> frame, const Headers& h, const SynOptions& syn, uint8_t options,
                       uint64_t mac, uint32_t tai_ms) {
    const uint32_t words = 6 + (syn.timestamp ? 3u : syn.sack) + (syn.wscale != KR_COOKIE_NO_WSCALE);
    const Macs came = read_macs(frame.data());
    write_macs(frame.data(), {came.source, came.destination});
    uint8_t* ip = &frame[h.l3];  // IP options are not echoed
    uint8_t* tcp = ip + (h.ipv6 ? kIpv6Size : kIpv4Min);
    HeaderWriter header(tcp);
    header.count(write_ip(ip, h, 4 * words));
    header.put(uint32_t{h.tuple.destination_port} << 16 | h.tuple.source_port);
    header.put(kr_cookie_isn(mac, options));
    header.put(h.seq + 1);
    header.put(words << 28 | (kSyn | kAck) << 16 | KR_COOKIE_WINDOW);
    header.put_raw(0);  // checksum, urgent pointer
    write_options(header, syn, h.ipv6, kr_cookie_tsval(mac, tai_ms));
    header.put_checksum(tcp + 16);
    return static_cast<uint16_t>(header.at() - frame.data());
}

Acknowledgement::Acknowledgement(std::span<const uint8_t> frame, const Headers& h)
    : isn_(h.ack - 1), ipv6_(h.ipv6) {
    const std::span<const uint8_t> options = tcp_options(frame, h);
    if (options.size() == 12 && load32_raw(options.data()) == kTimestampsAlone) {
        timestamp_ = true;
        tsecr_ = load32(&options[8]);
        return;
    }
    each_option(options, [&](uint8_t kind, std::span<const uint8_t> value) {
        if (kind != kTimestamp || value.size() != 8) return;
        timestamp_ = true;
        tsecr_ = load32(&value[4]);
    });
}

uint32_t Acknowledgement::full_segment() const {
    constexpr uint32_t kTimestampSpace = 12;
    const unsigned mss_class = options() >> KR_COOKIE_MSS_SHIFT;
    const auto mss = static_cast<uint16_t>(mss_classes(ipv6_) >> (16 * mss_class));
    return mss - (timestamp_ ? kTimestampSpace : 0);
}

std::optional<uint32_t> overtaken_seq(std::span<const uint8_t> frame, const Headers& h,
                                      std::span<const kr_cookie_key, 2> keys) {
    constexpr uint32_t kBefore = 9;  // the others of an initial window, RFC 6928
    const Acknowledgement acknowledgement(frame, h);
    const std::array<uint32_t, 2> sizes = {h.payload_size, acknowledgement.full_segment()};
    const auto start = [&](uint32_t i) { return h.seq - (i % kBefore + 1) * sizes[i / kBefore]; };
    CookieMacs macs;
    for (uint32_t i = 0; i < sizes.size() * kBefore; i++)
        macs.add(cookie_tuple(h.tuple, start(i) - 1), acknowledgement.options());
    macs.make(keys);
    for (uint16_t i = 0; i < sizes.size() * kBefore; i++)
        if (acknowledgement.carries(macs[i], keys)) return start(i);
    return std::nullopt;
}

}  // namespace keyrail
