// SPDX-License-Identifier: Apache-2.0
#include "dataplane/explain/client.h"

#include <algorithm>
#include <array>

#include "dataplane/common/ids.h"
#include "dataplane/wire/header_writer.h"

namespace keyrail::explain {
namespace {

constexpr uint32_t kIsn = 5000, kTsval = 77;
constexpr size_t kMss4 = 1460, kMss6 = 1440, kTimestamps = 12;

/// Bytes of TLS, whose vectors are written before their sizes are known.
class Writer {
  public:
    Bytes bytes;

    void u8(unsigned value) { bytes.push_back(static_cast<uint8_t>(value)); }
    void u16(unsigned value) {
        u8(value >> 8);
        u8(value & 0xff);
    }
    void add(const auto& more) { bytes.insert(bytes.end(), more.begin(), more.end()); }
    /// A vector with a size of `width` bytes in front.
    template <typename Body>
    void vector(size_t width, Body body) {
        const size_t at = bytes.size();
        bytes.resize(at + width);
        body();
        const size_t size = bytes.size() - at - width;
        for (size_t i = 0; i < width; i++) bytes[at + i] = static_cast<uint8_t>(size >> 8 * (width - 1 - i));
    }
    template <typename Body>
    void extension(unsigned type, Body body) {
        u16(type);
        vector(2, body);
    }
};

/// Bytes of which nobody reads more than that they are there.
Bytes filler(size_t size) { return Bytes(size, 0x5a); }

void common_extensions(Writer& out, const Wishes& wishes) {
    if (!wishes.server_name.empty())
        out.extension(0, [&] {
            out.vector(2, [&] {
                out.u8(0);
                out.vector(2, [&] { out.add(wishes.server_name); });
            });
        });
    out.extension(10, [&] {  // supported_groups
        out.vector(2, [&] {
            out.u16(0x001d);
            out.u16(0x0017);
        });
    });
    out.extension(13, [&] {  // signature_algorithms
        out.vector(2, [&] {
            out.u16(0x0403);
            out.u16(0x0804);
        });
    });
    if (!wishes.alpn.empty())
        out.extension(16, [&] {
            out.vector(2, [&] {
                for (const std::string& protocol : wishes.alpn) out.vector(1, [&] { out.add(protocol); });
            });
        });
}

void tls13_extensions(Writer& out, const Wishes& wishes) {
    out.extension(43, [&] { out.vector(1, [&] { out.u16(number_of(TlsVersion::tls13)); }); });
    out.extension(51, [&] {  // key_share
        out.vector(2, [&] {
            out.u16(0x001d);
            out.vector(2, [&] { out.add(filler(32)); });
        });
    });
    out.extension(45, [&] { out.vector(1, [&] { out.u8(1); }); });  // psk_key_exchange_modes
    if (wishes.early_data) out.extension(42, [] {});
    if (wishes.session.empty()) return;
    out.extension(41, [&] {  // pre_shared_key, the last one
        out.vector(2, [&] {
            out.vector(2, [&] { out.add(wishes.session); });
            out.add(filler(4));
        });
        out.vector(2, [&] { out.vector(1, [&] { out.add(filler(32)); }); });
    });
}

}  // namespace

Bytes client_hello(const Wishes& wishes) {
    constexpr size_t kLongestId = 32;
    const bool ticket = wishes.tls12 && wishes.session.size() > kLongestId;
    Writer out;
    out.u8(22);
    out.u16(number_of(TlsVersion::tls10));
    out.vector(2, [&] {
        out.u8(1);
        out.vector(3, [&] {
            out.u16(number_of(TlsVersion::tls12));
            out.add(filler(32));
            out.vector(1, [&] {
                if (wishes.tls12 && !ticket)
                    out.add(wishes.session);
                else if (!wishes.tls12)
                    out.add(filler(kLongestId));
            });
            out.vector(2, [&] {
                for (const unsigned suite : {0x1301, 0x1302, 0xc02f, 0xc030}) out.u16(suite);
            });
            out.vector(1, [&] { out.u8(0); });
            out.vector(2, [&] {
                common_extensions(out, wishes);
                if (ticket) out.extension(35, [&] { out.add(wishes.session); });
                if (!wishes.tls12) tls13_extensions(out, wishes);
            });
        });
    });
    return std::move(out.bytes);
}

Bytes Client::syn() const {
    const auto mss = static_cast<uint8_t>((connection_.ipv6 ? kMss6 : kMss4) & 0xff);
    const std::array<uint8_t, 20> options = {2, 4,      5, mss, 4, 2, 8, 10, 0, 0,
                                             0, kTsval, 0, 0,   0, 0, 1, 3,  3, 7};
    static_assert(kMss4 >> 8 == 5 && kMss6 >> 8 == 5);
    return frame(kIsn, 0, kSyn, options, {});
}

void Client::answered(std::span<const uint8_t> syn_ack) {
    const Headers h = parse_headers(syn_ack);
    if (h.layout != Layout::tcp) return;
    cookie_ = h.seq.value();
    const auto options = tcp_options(syn_ack, h);
    for (size_t i = 0; i + 1 < options.size();) {
        if (options[i] == 8 && i + 10 <= options.size()) tsval_ = load32(&options[i + 2]);
        i += options[i] <= 1 ? 1 : std::max<size_t>(options[i + 1], 2);
    }
}

std::vector<Bytes> Client::data(std::span<const uint8_t> stream) const {
    const size_t full = (connection_.ipv6 ? kMss6 : kMss4) - kTimestamps;
    std::vector<Bytes> frames;
    for (size_t at = 0; at < stream.size(); at += full) {
        const auto payload = stream.subspan(at, std::min(full, stream.size() - at));
        const bool last = at + full >= stream.size();
        frames.push_back(
            segment(payload, static_cast<uint32_t>(at), static_cast<uint8_t>(last ? kAck | kPsh : kAck)));
    }
    return frames;
}

Bytes Client::segment(std::span<const uint8_t> payload, uint32_t offset, uint8_t flags) const {
    std::array<uint8_t, kTimestamps> options = {1, 1, 8, 10};
    store32(&options[4], kTsval + 1);
    store32(&options[8], tsval_);
    return frame(kIsn + 1 + offset, cookie_ + 1, flags, options, payload);
}

Bytes Client::frame(uint32_t seq, uint32_t ack, uint8_t flags, std::span<const uint8_t> options,
                    std::span<const uint8_t> payload) const {
    const size_t ip = connection_.ipv6 ? kIpv6Size : kIpv4Min, header = kTcpMin + options.size();
    const auto length = static_cast<uint32_t>(header + payload.size());
    Bytes out(kEthernetSize + ip + length);
    std::ranges::copy(to_, out.begin());
    out[6] = 2;  // the source: a local address of nobody's
    store16(&out[12], connection_.ipv6 ? kEtherTypeIpv6 : kEtherTypeIpv4);
    const Tuple& t = connection_.tuple;
    uint8_t* const at = &out[kEthernetSize];
    uint64_t sum = 0;
    if (connection_.ipv6)
        sum = write_ipv6(at, t.source, t.destination, length);
    else
        sum = write_ipv4(at, load32_raw(&t.source[12]), load32_raw(&t.destination[12]), length);
    uint8_t* const tcp = at + ip;
    HeaderWriter writer(tcp);
    writer.count(sum);
    writer.put(uint32_t{t.source_port} << 16 | t.destination_port);
    writer.put(seq);
    writer.put(ack);
    writer.put(static_cast<uint32_t>(header / 4) << 28 | uint32_t{flags} << 16 | 64000);
    writer.put(0);
    writer.put(options.data(), options.size() / 4);
    std::ranges::copy(payload, tcp + header);
    writer.count(sum_of(payload));
    writer.put_checksum(tcp + 16);
    return out;
}

}  // namespace keyrail::explain
