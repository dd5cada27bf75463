// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/syn_cookie.h"

#include <rte_ip.h>
#include <rte_tcp.h>

#include <utility>

namespace keyrail {
namespace {

// TCP option kinds, RFC 9293 section 3.1 and RFC 7323.
enum Kind : uint8_t { kEnd = 0, kNop = 1, kMss = 2, kWscale = 3, kSackPermitted = 4, kTimestamp = 8 };
constexpr uint8_t kTtl = 64;
constexpr uint8_t kWscaleMax = 14;  // RFC 7323 section 2.3

kr_cookie_tuple cookie_tuple(const Tuple& t, uint32_t client_isn) {
    kr_cookie_tuple tuple{};
    std::memcpy(&tuple.word[0], t.source.data(), 16);
    std::memcpy(&tuple.word[2], t.destination.data(), 16);
    tuple.word[4] = kr_cookie_last(client_isn, t.source_port, t.destination_port);
    return tuple;
}

constexpr uint64_t mss_classes(bool ipv6) { return ipv6 ? KR_COOKIE_MSS6 : KR_COOKIE_MSS4; }

/// Calls `visit(kind, value)` for each option; stops at the first malformed one.
template <typename Visit>
void each_option(std::span<const uint8_t> options, Visit visit) {
    for (size_t i = 0; i < options.size() && options[i] != kEnd;) {
        if (options[i] == kNop) {
            i++;
            continue;
        }
        if (i + 1 >= options.size() || options[i + 1] < 2 || i + options[i + 1] > options.size()) return;
        visit(options[i], options.subspan(i + 2, options[i + 1] - size_t{2}));
        i += options[i + 1];
    }
}

/// The SYN-ACK's options, padded to a multiple of 4. Returns their length.
uint8_t write_options(uint8_t* out, const SynOptions& syn, bool ipv6, uint32_t tsval) {
    uint8_t* p = out;
    *p++ = kMss;
    *p++ = 4;
    store16(p, ipv6 ? 1440 : 1460);  // what the blades' backplane carries; never more than the classes know
    p += 2;
    if (syn.timestamp) {  // SACK-permitted rides in the padding of the timestamp, as Linux does it
        *p++ = syn.sack ? kSackPermitted : kNop;
        *p++ = syn.sack ? 2 : kNop;
        *p++ = kTimestamp;
        *p++ = 10;
        store32(p, tsval);
        store32(p + 4, syn.tsval);
        p += 8;
    } else if (syn.sack) {
        *p++ = kNop;
        *p++ = kNop;
        *p++ = kSackPermitted;
        *p++ = 2;
    }
    if (syn.wscale != KR_COOKIE_NO_WSCALE) {
        *p++ = kNop;
        *p++ = kWscale;
        *p++ = 3;
        *p++ = KR_COOKIE_WSCALE;
    }
    return static_cast<uint8_t>(p - out);
}

void write_ipv4(uint8_t* ip, const Tuple& reply, uint16_t tcp_length) {
    std::memset(ip, 0, sizeof(rte_ipv4_hdr));
    ip[0] = 0x45;
    store16(ip + 2, static_cast<uint16_t>(sizeof(rte_ipv4_hdr) + tcp_length));
    store16(ip + 6, 0x4000);  // don't fragment
    ip[8] = kTtl;
    ip[9] = kProtocolTcp;
    std::memcpy(ip + 12, &reply.source[12], 4);
    std::memcpy(ip + 16, &reply.destination[12], 4);
    auto* header = reinterpret_cast<rte_ipv4_hdr*>(ip);
    header->hdr_checksum = rte_ipv4_cksum(header);
}

void write_ipv6(uint8_t* ip, const Tuple& reply, uint16_t tcp_length) {
    std::memset(ip, 0, 8);
    ip[0] = 0x60;
    store16(ip + 4, tcp_length);
    ip[6] = kProtocolTcp;
    ip[7] = kTtl;
    std::memcpy(ip + 8, reply.source.data(), 16);
    std::memcpy(ip + 24, reply.destination.data(), 16);
}

void swap_macs(uint8_t* ethernet) {
    uint8_t keep[6];
    std::memcpy(keep, ethernet, 6);
    std::memcpy(ethernet, ethernet + 6, 6);
    std::memcpy(ethernet + 6, keep, 6);
}

/// What a segment echoes of our SYN-ACK.
class Acknowledgement {
  public:
    Acknowledgement(std::span<const uint8_t> frame, const Headers& h, std::span<const kr_cookie_key, 2> keys)
        : h_(h), isn_(h.ack - 1), key_(keys[isn_ >> KR_COOKIE_KEY_SHIFT & 1]) {
        each_option(frame.subspan(h.l4 + size_t{20}, h.tcp_length - size_t{20}),
                    [&](uint8_t kind, std::span<const uint8_t> value) {
                        if (kind != kTimestamp || value.size() != 8) return;
                        timestamp_ = true;
                        tsecr_ = load32(&value[4]);
                    });
    }
    /// Is it of the connection whose first byte has this sequence number?
    [[nodiscard]] bool good_for(uint32_t first_seq) const {
        if ((key_.k0 | key_.k1) == 0) return false;
        const kr_cookie_tuple tuple = cookie_tuple(h_.tuple, first_seq - 1);
        const uint64_t mac = kr_cookie_mac(&tuple, static_cast<uint8_t>(isn_), &key_);
        return kr_cookie_valid(mac, isn_, timestamp_, tsecr_) != 0;
    }
    /// Payload of a segment that the client fills, by the MSS class in the cookie.
    [[nodiscard]] uint32_t full_segment() const {
        constexpr uint32_t kTimestampSpace = 12;
        const unsigned mss_class = (isn_ & 0xff) >> KR_COOKIE_MSS_SHIFT;
        const auto mss = static_cast<uint16_t>(mss_classes(h_.ipv6) >> (16 * mss_class));
        return mss - (timestamp_ ? kTimestampSpace : 0);
    }

  private:
    const Headers& h_;
    const uint32_t isn_;
    const kr_cookie_key& key_;
    bool timestamp_ = false;
    uint32_t tsecr_ = 0;
};

}  // namespace

SynOptions read_syn_options(std::span<const uint8_t> options) {
    SynOptions syn;
    each_option(options, [&](uint8_t kind, std::span<const uint8_t> value) {
        if (kind == kMss && value.size() == 2) syn.mss = load16(value.data());
        if (kind == kWscale && value.size() == 1) syn.wscale = std::min(value[0], kWscaleMax);
        if (kind == kSackPermitted && value.empty()) syn.sack = true;
        if (kind == kTimestamp && value.size() == 8) {
            syn.timestamp = true;
            syn.tsval = load32(value.data());
        }
    });
    return syn;
}

uint8_t cookie_options(const SynOptions& syn, bool ipv6, uint8_t key_id) {
    uint8_t mss_class = 0;  // the largest class that the client can take; the smallest for everything below
    for (uint8_t i = 1; i < 4; i++)
        if ((mss_classes(ipv6) >> (16 * i) & 0xffff) <= syn.mss) mss_class = i;
    return static_cast<uint8_t>(mss_class << KR_COOKIE_MSS_SHIFT | (syn.sack ? KR_COOKIE_SACK : 0) |
                                key_id << KR_COOKIE_KEY_SHIFT | syn.wscale);
}

uint16_t answer_syn(std::span<uint8_t> frame, const Headers& h, const kr_cookie_key& key, uint8_t key_id,
                    uint32_t tai_ms) {
    const SynOptions syn = read_syn_options(frame.subspan(h.l4 + size_t{20}, h.tcp_length - size_t{20}));
    const uint8_t options = cookie_options(syn, h.ipv6, key_id);
    const kr_cookie_tuple tuple = cookie_tuple(h.tuple, h.seq);
    const uint64_t mac = kr_cookie_mac(&tuple, options, &key);
    const Tuple reply{h.tuple.destination, h.tuple.source, h.tuple.destination_port, h.tuple.source_port};

    uint8_t* ip = &frame[h.l3];
    uint8_t* tcp = ip + (h.ipv6 ? sizeof(rte_ipv6_hdr) : sizeof(rte_ipv4_hdr));  // IP options are not echoed
    const auto length =
        static_cast<uint16_t>(20 + write_options(tcp + 20, syn, h.ipv6, kr_cookie_tsval(mac, tai_ms)));
    store16(tcp, reply.source_port);
    store16(tcp + 2, reply.destination_port);
    store32(tcp + 4, kr_cookie_isn(mac, options));
    store32(tcp + 8, h.seq + 1);
    store16(tcp + 12, static_cast<uint16_t>(length / 4 << 12 | kSyn | kAck));
    store16(tcp + 14, KR_COOKIE_WINDOW);
    store32(tcp + 16, 0);  // checksum, urgent pointer

    swap_macs(frame.data());
    auto* header = reinterpret_cast<rte_tcp_hdr*>(tcp);
    if (h.ipv6) {
        write_ipv6(ip, reply, length);
        header->cksum = rte_ipv6_udptcp_cksum(reinterpret_cast<rte_ipv6_hdr*>(ip), tcp);
    } else {
        write_ipv4(ip, reply, length);
        header->cksum = rte_ipv4_udptcp_cksum(reinterpret_cast<rte_ipv4_hdr*>(ip), tcp);
    }
    return static_cast<uint16_t>(tcp + length - frame.data());
}

bool cookie_acknowledged(std::span<const uint8_t> frame, const Headers& h,
                         std::span<const kr_cookie_key, 2> keys) {
    return Acknowledgement(frame, h, keys).good_for(h.seq);
}

std::optional<uint32_t> overtaken_seq(std::span<const uint8_t> frame, const Headers& h,
                                      std::span<const kr_cookie_key, 2> keys) {
    constexpr uint32_t kSegments = 10;  // of an initial window, RFC 6928
    const Acknowledgement acknowledgement(frame, h, keys);
    for (const uint32_t size : {uint32_t{h.payload_size}, acknowledgement.full_segment()}) {
        for (uint32_t before = 1; before < kSegments; before++)
            if (acknowledgement.good_for(h.seq - before * size)) return h.seq - before * size;
    }
    return std::nullopt;
}

}  // namespace keyrail
