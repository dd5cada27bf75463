// SPDX-License-Identifier: Apache-2.0
// A client of the harness, and what tests say about frames.
#include <gtest/gtest.h>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail::test {

MacAddress destination(const Frame& frame) {
    MacAddress mac;
    std::copy_n(frame.begin(), 6, mac.begin());
    return mac;
}

Frame behind_macs(const Frame& frame) { return {frame.begin() + 12, frame.end()}; }

std::vector<uint8_t> cut(const std::vector<uint8_t>& bytes, size_t from, size_t to) {
    return {bytes.begin() + static_cast<ptrdiff_t>(from),
            bytes.begin() + static_cast<ptrdiff_t>(std::min(to, bytes.size()))};
}

std::vector<uint8_t> hello_of(uint16_t blade, TlsVersion version) {
    return client_hello({.max_version = version, .name = Harness::name(blade)});
}
std::vector<uint8_t> one_segment_hello_of(uint16_t blade, TlsVersion version) {
    return client_hello({.max_version = version, .name = Harness::name(blade), .post_quantum = false});
}

Client::Client(Harness& harness, uint16_t port, bool ipv6, uint32_t isn)
    : Client(harness, port, ipv6 ? kVip6 : kVip4, isn) {}

Client::Client(Harness& harness, uint16_t port, const std::string& vip, uint32_t isn) : harness_(harness) {
    base_.source = vip.find(':') != std::string::npos ? "2001:db8:1::10" : "192.0.2.10";
    base_.destination = vip;
    base_.source_port = port;
    base_.seq = isn;
}

void Client::syn() {
    TcpSegment s = base_;
    s.flags = kSyn;
    s.options = linux_syn_options();
    harness_.burst(kFront, {s.frame()});
    const auto replies = harness_.wire(kFront);
    ASSERT_EQ(replies.size(), 1u);
    const Headers h = parse_headers(replies[0]);
    ASSERT_EQ(h.flags, kSyn | kAck);
    ASSERT_EQ(h.ack, base_.seq + 1);
    cookie = h.seq.value();
    tsval = load32(&replies[0][h.l4 + 28u]);  // MSS, SACK, then the timestamp's value
}

TcpSegment Client::segment(std::vector<uint8_t> payload, uint32_t offset, uint8_t flags) const {
    TcpSegment s = base_;
    s.flags = flags;
    s.seq = base_.seq + 1 + offset;
    s.ack = cookie + 1;
    s.options = timestamp_option(78, tsval);
    s.payload = std::move(payload);
    return s;
}

Frame Client::data(std::vector<uint8_t> payload, uint32_t offset) const {
    return segment(std::move(payload), offset, kAck | kPsh).frame();
}

size_t Client::full_segment() const {
    constexpr size_t kMore = 20;  // an IPv6 header has than an IPv4 header
    return base_.destination.find(':') == std::string::npos ? kFullSegment : kFullSegment - kMore;
}

std::vector<Frame> Client::hello(const std::vector<uint8_t>& stream, uint32_t offset) const {
    std::vector<Frame> frames;
    const size_t full = full_segment();
    for (size_t at = 0; at < stream.size(); at += full) {
        const uint8_t flags = at + full < stream.size() ? kAck : kAck | kPsh;
        frames.push_back(
            segment(cut(stream, at, at + full), offset + static_cast<uint32_t>(at), flags).frame());
    }
    return frames;
}

}  // namespace keyrail::test
