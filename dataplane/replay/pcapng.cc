// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/pcapng.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace keyrail::replay {
namespace {

enum Block : uint32_t {
    kInterface = 1,
    kOldPacket = 2,
    kSimplePacket = 3,
    kEnhancedPacket = 6,
    kSection = 0x0a0d0d0a,  // the same in both byte orders
};
constexpr uint32_t kMagic = 0x1a2b3c4d, kMagicTurned = 0x4d3c2b1a;
constexpr uint32_t kFrame = 12;          // type, length, and the length again
constexpr uint32_t kLongest = 16 << 20;  // of a block; jumbo frames take 9 KiB
constexpr size_t kMaxInterfaces = 65536;

uint32_t load(const uint8_t* at, bool big_endian) {
    return big_endian ? load32(at) : __builtin_bswap32(load32(at));
}

}  // namespace

std::optional<PcapNg> PcapNg::open(const std::string& path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return std::nullopt;  // a pipe can be read once
    std::FILE* file = std::fopen(path.c_str(), "rbe");
    if (file == nullptr) return std::nullopt;
    PcapNg capture(file);
    std::array<uint8_t, 4> type{};
    if (std::fread(type.data(), 1, type.size(), file) != type.size() || load32(type.data()) != kSection)
        return std::nullopt;
    std::rewind(file);
    return capture;
}

void PcapNg::fail_here(const std::string& what) {
    if (error_.empty()) error_ = fmt::format("block at byte {}: {}", offset_, what);
}

uint16_t PcapNg::number16(size_t at) const {
    return big_endian_ ? load16(&body_[at]) : static_cast<uint16_t>(body_[at] | body_[at + 1] << 8);
}
uint32_t PcapNg::number32(size_t at) const { return load(&body_[at], big_endian_); }

/// False: the end of the file, or an error. A section header says the byte order of its own length.
bool PcapNg::read_block() {
    std::array<uint8_t, 12> head{};  // type, length; of a section its magic number
    offset_ = next_offset_;
    const size_t got = std::fread(head.data(), 1, 8, file_.get());
    if (got == 0) return false;
    if (got < 8) return fail_here("cut short"), false;
    const bool section = load32(head.data()) == kSection;
    if (section) {
        if (std::fread(&head[8], 1, 4, file_.get()) != 4) return fail_here("cut short"), false;
        const uint32_t magic = load32(&head[8]);
        if (magic != kMagic && magic != kMagicTurned) return fail_here("no byte-order magic"), false;
        big_endian_ = magic == kMagic;
    }
    type_ = load(head.data(), big_endian_);
    const uint32_t length = load(&head[4], big_endian_), had = section ? 4 : 0;
    if (length < kFrame + had || length % 4 != 0 || length > kLongest)
        return fail_here(fmt::format("its length {} is not that of a block", length)), false;
    body_.resize(length - kFrame + 4);  // with the length behind it
    std::copy_n(&head[8], had, body_.begin());
    if (std::fread(body_.data() + had, 1, body_.size() - had, file_.get()) != body_.size() - had)
        return fail_here("cut short"), false;
    if (number32(body_.size() - 4) != length) return fail_here("its two lengths differ"), false;
    body_.resize(body_.size() - 4);
    next_offset_ = offset_ + length;
    return true;
}

void PcapNg::begin_section() { interfaces_.clear(); }

void PcapNg::add_interface() {
    if (body_.size() < 8) return fail_here("an interface of fewer than 8 bytes");
    if (interfaces_.size() == kMaxInterfaces) return fail_here("too many interfaces");
    interfaces_.push_back({number16(0), number32(4)});
}

std::optional<PcapNg::Packet> PcapNg::packet(uint32_t interface, size_t at, uint32_t captured,
                                             uint32_t size) {
    if (interface >= interfaces_.size()) {
        fail_here(fmt::format("there is no interface {}", interface));
    } else if (captured > body_.size() - at) {
        fail_here(fmt::format("{} bytes of a packet do not fit into it", captured));
    } else {
        return Packet{interfaces_[interface].link_type, Bytes(body_).subspan(at, captured),
                      std::max(size, captured)};
    }
    return std::nullopt;
}

std::optional<PcapNg::Packet> PcapNg::enhanced_packet() {
    constexpr size_t kHeader = 20;
    if (body_.size() >= kHeader) return packet(number32(0), kHeader, number32(12), number32(16));
    return fail_here("a packet without its header"), std::nullopt;
}

/// How much was captured is not said: the interface's snap length at most.
std::optional<PcapNg::Packet> PcapNg::simple_packet() {
    constexpr size_t kHeader = 4;
    if (body_.size() < kHeader || interfaces_.empty())
        return fail_here("a packet without its header or interface"), std::nullopt;
    const uint32_t size = number32(0), limit = interfaces_[0].snap_length;
    return packet(0, kHeader, limit == 0 ? size : std::min(size, limit), size);
}

std::optional<PcapNg::Packet> PcapNg::old_packet() {
    constexpr size_t kHeader = 20;
    if (body_.size() >= kHeader) return packet(number16(0), kHeader, number32(12), number32(16));
    return fail_here("a packet without its header"), std::nullopt;
}

std::optional<PcapNg::Packet> PcapNg::next() {
    while (error_.empty() && read_block()) {
        switch (type_) {
            case kSection:
                begin_section();
                break;
            case kInterface:
                add_interface();
                break;
            case kEnhancedPacket:
                return enhanced_packet();
            case kSimplePacket:
                return simple_packet();
            case kOldPacket:
                return old_packet();
            default:  // names, statistics, secrets, or what is not known
                break;
        }
    }
    return std::nullopt;
}

}  // namespace keyrail::replay
