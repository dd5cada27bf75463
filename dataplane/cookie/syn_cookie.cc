// SPDX-License-Identifier: Apache-2.0
#include "dataplane/cookie/syn_cookie.h"

#include "dataplane/cookie/cookie_macs.h"
#include "dataplane/wire/header_writer.h"
#include "dataplane/wire/macs.h"

namespace keyrail {
namespace {

/// What a SYN-ACK says in answer to a SYN: its shape.
struct Shape {
    bool ipv6, timestamp, sack, wscale;

    [[nodiscard]] constexpr uint32_t words() const { return 6 + (timestamp ? 3u : sack) + wscale; }
};
/// To a Linux client (and Android's) over IPv4.
constexpr Shape kUsual{false, true, true, true};

/// The SYN-ACK's options, each padded to a word.
[[gnu::always_inline]] inline void write_options(HeaderWriter& tcp, const Shape& shape, uint32_t mss_raw,
                                                 uint32_t tsval, uint32_t echo_raw) {
    tcp.put_raw(mss_raw);
    if (shape.timestamp) {  // SACK-permitted rides in the padding of the timestamp, as Linux does it
        tcp.put_raw(shape.sack ? kSackAndTimestamps : kTimestampsAlone);
        tcp.put(tsval);
        tcp.put_raw(echo_raw);
    } else if (shape.sack) {
        tcp.put_raw(kSackAlone);
    }
    if (shape.wscale) tcp.put_raw(wire(kWscaleWord | KR_COOKIE_WSCALE));
}

/// Returns the sum of the pseudo header.
[[gnu::always_inline]] inline uint64_t write_ip(uint8_t* ip, const Shape& shape, const Tuple& syn) {
    if (shape.ipv6) return write_ipv6(ip, syn.destination, syn.source, 4 * shape.words());
    return write_ipv4(ip, load32_raw(&syn.destination[12]), load32_raw(&syn.source[12]), 4 * shape.words());
}

/// Inlined for a shape that the compiler knows and for any other: what is constant is summed up beforehand.
[[gnu::always_inline]] inline uint16_t write_in_shape(uint8_t* frame, const Shape& shape, const Headers& h,
                                                      uint32_t isn, uint32_t mss_raw, uint32_t tsval,
                                                      uint32_t echo_raw) {
    swap_macs(frame);
    uint8_t* ip = frame + h.l3;  // IP options are not echoed
    uint8_t* tcp = ip + (shape.ipv6 ? kIpv6Size : kIpv4Min);
    HeaderWriter header(tcp);
    header.count(write_ip(ip, shape, h.tuple));
    header.put(uint32_t{h.tuple.destination_port} << 16 | h.tuple.source_port);
    header.put(isn);
    header.put((h.seq + 1).value());
    header.put(shape.words() << 28 | (kSyn | kAck) << 16 | KR_COOKIE_WINDOW);
    header.put_raw(0);  // checksum, urgent pointer
    write_options(header, shape, mss_raw, tsval, echo_raw);
    header.put_checksum(tcp + 16);
    return static_cast<uint16_t>(header.at() - frame);
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

uint16_t write_syn_ack(uint8_t* frame, const Headers& h, const SynOptions& syn, uint16_t clear, uint64_t mac,
                       uint32_t tai_ms, uint32_t mss_raw) {
    const Shape shape{h.ipv6, syn.timestamp, syn.sack, syn.wscale != KR_COOKIE_NO_WSCALE};
    const uint32_t isn = kr_cookie_isn(mac, clear), tsval = kr_cookie_tsval(mac, tai_ms);
    const bool usual = !shape.ipv6 && shape.timestamp && shape.sack && shape.wscale;
    if (usual) [[likely]]
        return write_in_shape(frame, kUsual, h, isn, mss_raw, tsval, syn.tsval_raw);
    return write_in_shape(frame, shape, h, isn, mss_raw, tsval, syn.tsval_raw);
}

uint16_t write_cookie_ack(std::span<uint8_t> frame, const Headers& h, Seq client_isn) {
    constexpr uint32_t kStampsAt = 4;
    uint32_t stamps[2] = {};  // as they lie there; what comes back is what was said last
    bool stamped = false;
    each_option(tcp_options(frame, h), [&](uint8_t kind, std::span<const uint8_t> value) {
        if (kind != kTimestamp || value.size() != 8) return;
        stamped = true;
        stamps[0] = load32_raw(&value[kStampsAt]);
        stamps[1] = load32_raw(&value[0]);
    });
    const uint32_t words = stamped ? 8 : 5, isn = h.ack.back(1).value();
    const bool scaled = (isn & KR_COOKIE_WSCALE_MASK) != KR_COOKIE_NO_WSCALE;
    swap_macs(frame.data());
    uint8_t* ip = frame.data() + h.l3;
    uint8_t* tcp = ip + (h.ipv6 ? kIpv6Size : kIpv4Min);
    HeaderWriter header(tcp);
    header.count(h.ipv6 ? write_ipv6(ip, h.tuple.destination, h.tuple.source, 4 * words)
                        : write_ipv4(ip, load32_raw(&h.tuple.destination[12]),
                                     load32_raw(&h.tuple.source[12]), 4 * words));
    header.put(uint32_t{h.tuple.destination_port} << 16 | h.tuple.source_port);
    header.put(h.ack.value());
    header.put((client_isn + 1).value());
    header.put(words << 28 | kAck << 16 | KR_COOKIE_WINDOW >> (scaled ? KR_COOKIE_WSCALE : 0));
    header.put_raw(0);  // checksum, urgent pointer
    if (stamped) {
        header.put_raw(kTimestampsAlone);
        header.put_raw(stamps[0]);
        header.put_raw(stamps[1]);
    }
    header.put_checksum(tcp + 16);
    return static_cast<uint16_t>(header.at() - frame.data());
}

bool carries_cookie(std::span<const uint8_t> frame, const Headers& h, Seq client_isn,
                    std::span<const kr_cookie_key, 2> keys, uint32_t tai_ms) {
    const Acknowledgement acknowledgement(frame, h);
    const kr_cookie_tuple tuple = cookie_tuple(h.tuple, client_isn);
    const uint8_t options = acknowledgement.options();
    const kr_cookie_key& key = keys[options >> KR_COOKIE_KEY_SHIFT & 1];
    return acknowledgement.carries(kr_cookie_mac(&tuple, options, acknowledgement.period(tai_ms), &key),
                                   keys);
}

Acknowledgement::Acknowledgement(std::span<const uint8_t> frame, const Headers& h)
    : isn_(h.ack.back(1).value()), ipv6_(h.ipv6) {
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

std::optional<Seq> overtaken_seq(std::span<const uint8_t> frame, const Headers& h,
                                 std::span<const kr_cookie_key, 2> keys, uint32_t tai_ms) {
    constexpr uint32_t kBefore = 9;  // the others of an initial window, RFC 6928
    const Acknowledgement acknowledgement(frame, h);
    const std::array<uint32_t, 2> sizes = {h.payload_size, acknowledgement.full_segment()};
    const auto start = [&](uint32_t i) { return h.seq.back((i % kBefore + 1) * sizes[i / kBefore]); };
    CookieMacs macs;
    for (uint32_t i = 0; i < sizes.size() * kBefore; i++)
        macs.add(cookie_tuple(h.tuple, start(i).back(1)), acknowledgement.options(),
                 acknowledgement.period(tai_ms));
    macs.make(keys);
    for (uint16_t i = 0; i < sizes.size() * kBefore; i++)
        if (acknowledgement.carries(macs[i], keys)) return start(i);
    return std::nullopt;
}

}  // namespace keyrail
