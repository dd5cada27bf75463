// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/capture.h"

#include <algorithm>

#include "dataplane/replay/tunnel.h"

namespace keyrail::replay {
namespace {

constexpr int kMaxTunnels = 4;  // within each other

/// What is in front of the payload, and what that is.
struct LinkHeader {
    size_t size = 0;
    uint16_t ether_type = 0;
};

uint16_t ip_version_type(Bytes packet) {
    const unsigned version = packet.empty() ? 0u : packet[0] >> 4u;
    return version == 4 ? kEtherTypeIpv4 : version == 6 ? kEtherTypeIpv6 : uint16_t{0};
}

/// A link type whose header names the payload by an Ethernet type at `offset`.
LinkHeader named_at(Bytes packet, size_t offset, size_t size) {
    return {size, packet.size() < size ? uint16_t{0} : load16(&packet[offset])};
}

LinkHeader ip_behind(Bytes packet, size_t size) {
    return {size, ip_version_type(packet.subspan(std::min(size, packet.size())))};
}

/// The link types of https://www.tcpdump.org/linktypes.html that carry IP nearly anywhere.
LinkHeader link_header(int link_type, Bytes packet) {
    constexpr int kRaw = 101, kRawOld = 14, kIpv4 = 228, kIpv6 = 229, kSll2 = 276;  // not in every pcap.h
    constexpr size_t kSllSize = 16, kSll2Size = 20, kNullSize = 4;
    switch (link_type) {
        case DLT_RAW:
        case kRaw:
        case kRawOld:
        case kIpv4:
        case kIpv6:
            return ip_behind(packet, 0);
        case DLT_LINUX_SLL:
            return named_at(packet, kSllSize - 2, kSllSize);
        case kSll2:
            return named_at(packet, 0, kSll2Size);
        case DLT_NULL:  // the host's AF_ number, in its byte order: the packet says better itself
        case DLT_LOOP:
            return ip_behind(packet, kNullSize);
        default:
            return {};
    }
}

/// The packet with an Ethernet header in front; a type of 0 is nothing that anybody parses.
std::vector<uint8_t> as_ethernet(Bytes packet, uint16_t ether_type) {
    std::vector<uint8_t> frame(kEthernetSize + packet.size());
    store16(&frame[kEthernetSize - 2], ether_type);
    std::ranges::copy(packet, frame.begin() + kEthernetSize);
    return frame;
}

/// Taken on a sender's own machine: the NIC was to cut the packet and to fill in the lengths. False: it was
/// not.
bool lacks_length(Bytes frame) {
    constexpr size_t kIpv4Min = 20;
    return frame.size() >= kEthernetSize + kIpv4Min && load16(&frame[kEthernetSize - 2]) == kEtherTypeIpv4 &&
           load16(&frame[kEthernetSize + 2]) == 0;
}

}  // namespace

Result<Capture> Capture::open(const std::string& path) {
    if (auto file = PcapNg::open(path)) return Capture(std::move(*file));
    char error[PCAP_ERRBUF_SIZE] = "";
    pcap_t* file = pcap_open_offline(path.c_str(), error);
    if (file == nullptr) return fail("{}", error);
    return Capture(file);
}

std::optional<PcapNg::Packet> Capture::next_packet() {
    if (pcapng_) {
        auto packet = pcapng_->next();
        error_ = pcapng_->error();
        return packet;
    }
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    const int got = pcap_next_ex(pcap_.get(), &header, &data);
    if (got == 1) return PcapNg::Packet{pcap_datalink(pcap_.get()), Bytes(data, header->caplen), header->len};
    if (got != PCAP_ERROR_BREAK) error_ = pcap_geterr(pcap_.get());
    return std::nullopt;
}

std::optional<Frame> Capture::next() {
    const auto packet = next_packet();
    if (!packet) return std::nullopt;
    const size_t lost = packet->size - std::min(packet->size, packet->bytes.size());
    Frame frame{++number_, packet->bytes, std::min<size_t>(lost, UINT16_MAX)};
    if (packet->link_type != DLT_EN10MB) {
        const LinkHeader link = link_header(packet->link_type, packet->bytes);
        replace(frame, as_ethernet(packet->bytes.subspan(std::min(link.size, packet->bytes.size())),
                                   link.ether_type));
    }
    for (int layers = 0; layers < kMaxTunnels; layers++) {
        const auto inner = find_inner(frame.bytes);
        if (!inner) break;
        const Bytes payload = frame.bytes.subspan(inner->at);
        if (inner->ether_type == 0) {
            frame.bytes = payload;
        } else {
            replace(frame, as_ethernet(payload, inner->ether_type));
        }
    }
    complete(frame);
    return frame;
}

void Capture::replace(Frame& frame, std::vector<uint8_t> bytes) {
    buffer_ = std::move(bytes);
    frame.bytes = buffer_;
}

/// Zeros for what was not captured, and a length where there is none.
void Capture::complete(Frame& frame) {
    const bool without = lacks_length(frame.bytes);
    if (frame.lost == 0 && !without) return;
    std::vector<uint8_t> bytes(frame.bytes.size() + frame.lost);
    std::ranges::copy(frame.bytes, bytes.begin());
    const size_t length = bytes.size() - kEthernetSize;
    if (without && length <= UINT16_MAX) store16(&bytes[kEthernetSize + 2], static_cast<uint16_t>(length));
    replace(frame, std::move(bytes));
}

}  // namespace keyrail::replay
