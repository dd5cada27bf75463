// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bind/syn_cookie.h"

#include "dataplane/bind/cookie_macs.h"

namespace keyrail {
namespace {

// TCP option kinds, RFC 9293 section 3.1 and RFC 7323.
enum Kind : uint8_t { kEnd = 0, kNop = 1, kMss = 2, kWscale = 3, kSackPermitted = 4, kTimestamp = 8 };
constexpr uint8_t kTtl = 64;
constexpr uint8_t kWscaleMax = 14;  // RFC 7323 section 2.3

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

// Options as whole words, as they lie in headers; timestamps are followed by their two values.
constexpr uint32_t kPad = kNop << 8 | kNop, kSack = kSackPermitted << 8 | 2,
                   kTimestamps = kTimestamp << 8 | 10;
constexpr uint32_t kTimestampsAlone = kPad << 16 | kTimestamps;  // as every segment of most clients has them
constexpr uint32_t kSackAndTimestamps = kSack << 16 | kTimestamps;
constexpr uint32_t kWscaleWord = kNop << 24 | kWscale << 16 | 3 << 8;  // and the shift count

/// Writes a header word by word and sums it up on the way (RFC 1071).
class HeaderWriter {
  public:
    explicit HeaderWriter(uint8_t* at) : at_(at) {}

    void put(uint32_t word) {
        store32(at_, word);
        at_ += sizeof word;
        sum_ += word;
    }
    void put(const uint8_t* address, size_t words) {
        for (size_t i = 0; i < words; i++) put(load32(address + 4 * i));
    }
    /// Is summed up, but not written.
    void count(uint64_t words) { sum_ += words; }
    [[nodiscard]] uint64_t sum() const { return sum_; }
    [[nodiscard]] uint8_t* at() const { return at_; }
    [[nodiscard]] uint16_t checksum() const {
        uint64_t sum = (sum_ >> 32) + (sum_ & 0xffff'ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        return static_cast<uint16_t>(~((sum >> 16) + sum));
    }

  private:
    uint8_t* at_;
    uint64_t sum_ = 0;
};

/// The SYN-ACK's options, each padded to a word.
void write_options(HeaderWriter& tcp, const SynOptions& syn, bool ipv6, uint32_t tsval) {
    const uint32_t mss = ipv6 ? 1440 : 1460;  // what the blades' backplane carries, and the classes know
    tcp.put(uint32_t{kMss} << 24 | 4 << 16 | mss);
    if (syn.timestamp) {  // SACK-permitted rides in the padding of the timestamp, as Linux does it
        tcp.put(syn.sack ? kSackAndTimestamps : kTimestampsAlone);
        tcp.put(tsval);
        tcp.put(syn.tsval);
    } else if (syn.sack) {
        tcp.put(kPad << 16 | kSack);
    }
    if (syn.wscale != KR_COOKIE_NO_WSCALE) tcp.put(kWscaleWord | KR_COOKIE_WSCALE);
}

/// Returns what it sums up to with addresses and protocol, the pseudo header of RFC 9293 section 3.1.
uint64_t write_ipv4(uint8_t* ip, const Tuple& reply, uint16_t tcp_length) {
    HeaderWriter header(ip);
    header.put(uint32_t{0x4500} << 16 | (kIpv4Min + tcp_length));
    header.put(0x4000);  // don't fragment
    header.put(uint32_t{kTtl} << 24 | kProtocolTcp << 16);
    const uint64_t before = header.sum();
    header.put(&reply.source[12], 1);
    header.put(&reply.destination[12], 1);
    store16(ip + 10, header.checksum());
    return header.sum() - before;
}

uint64_t write_ipv6(uint8_t* ip, const Tuple& reply, uint16_t tcp_length) {
    HeaderWriter header(ip);
    header.put(uint32_t{6} << 28);
    header.put(uint32_t{tcp_length} << 16 | kProtocolTcp << 8 | kTtl);
    const uint64_t before = header.sum();
    header.put(reply.source.data(), 4);
    header.put(reply.destination.data(), 4);
    return header.sum() - before;
}

void swap_macs(uint8_t* ethernet) {
    uint8_t keep[6];
    std::memcpy(keep, ethernet, 6);
    std::memcpy(ethernet, ethernet + 6, 6);
    std::memcpy(ethernet + 6, keep, 6);
}

/// The options of a Linux client (and of Android's), word by word; false: they are others.
bool read_linux_options(std::span<const uint8_t> options, SynOptions& syn) {
    if (options.size() != 20) return false;
    const uint32_t mss = load32(&options[0]), wscale = load32(&options[16]);
    if (mss >> 16 != (kMss << 8 | 4) || load32(&options[4]) != kSackAndTimestamps ||
        (wscale & 0xffff'ff00) != kWscaleWord)
        return false;
    syn = {static_cast<uint16_t>(mss), std::min(static_cast<uint8_t>(wscale), kWscaleMax), true, true,
           load32(&options[8])};
    return true;
}

}  // namespace

SynOptions read_syn_options(std::span<const uint8_t> options) {
    SynOptions syn = kNoOptions;
    if (read_linux_options(options, syn)) return syn;
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
    unsigned mss_class = 0;  // the largest class that the client can take; the smallest for everything below
    for (unsigned i = 1; i < 4; i++) mss_class += (mss_classes(ipv6) >> (16 * i) & 0xffff) <= syn.mss;
    return static_cast<uint8_t>(mss_class << KR_COOKIE_MSS_SHIFT | (syn.sack ? KR_COOKIE_SACK : 0) |
                                key_id << KR_COOKIE_KEY_SHIFT | syn.wscale);
}

uint16_t write_syn_ack(std::span<uint8_t> frame, const Headers& h, const SynOptions& syn, uint8_t options,
                       uint64_t mac, uint32_t tai_ms) {
    const Tuple reply{h.tuple.destination, h.tuple.source, h.tuple.destination_port, h.tuple.source_port};
    const size_t words = 6 + (syn.timestamp ? 3u : syn.sack) + (syn.wscale != KR_COOKIE_NO_WSCALE);
    const auto length = static_cast<uint16_t>(4 * words);
    swap_macs(frame.data());
    uint8_t* ip = &frame[h.l3];  // IP options are not echoed
    uint8_t* tcp = ip + (h.ipv6 ? kIpv6Size : kIpv4Min);
    HeaderWriter header(tcp);
    header.count((h.ipv6 ? write_ipv6(ip, reply, length) : write_ipv4(ip, reply, length)) + kProtocolTcp +
                 length);
    header.put(uint32_t{reply.source_port} << 16 | reply.destination_port);
    header.put(kr_cookie_isn(mac, options));
    header.put(h.seq + 1);
    header.put(static_cast<uint32_t>(words) << 28 | (kSyn | kAck) << 16 | KR_COOKIE_WINDOW);
    header.put(0);  // checksum, urgent pointer
    write_options(header, syn, h.ipv6, kr_cookie_tsval(mac, tai_ms));
    store16(tcp + 16, header.checksum());
    return static_cast<uint16_t>(header.at() - frame.data());
}

Acknowledgement::Acknowledgement(std::span<const uint8_t> frame, const Headers& h)
    : isn_(h.ack - 1), ipv6_(h.ipv6) {
    const std::span<const uint8_t> options = tcp_options(frame, h);
    if (options.size() == 12 && load32(options.data()) == kTimestampsAlone) {
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
