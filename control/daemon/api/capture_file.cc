// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/capture_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

namespace keyrail {
namespace {

enum CaptureBlock : uint32_t { kSection = 0x0a0d0d0a, kInterface = 1, kPacket = 6 };
enum CaptureOption : uint16_t {
    kEnd = 0,
    kComment = 1,
    kApplication = 4,
    kName = 2,
    kResolution = 9,
    kFlags = 2
};
constexpr uint16_t kEthernet = 1;
constexpr char kNanoseconds = 9;
constexpr uint32_t kInbound = 1;
constexpr size_t kLongestComment = 4096;

/// In the byte order of this machine, which the section says.
template <typename Number>
void put(std::string& out, Number number) {
    out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

/// To a multiple of four bytes.
void put_padded(std::string& out, std::string_view bytes) {
    out += bytes;
    out.append((4 - bytes.size() % 4) % 4, '\0');
}

void put_option(std::string& out, CaptureOption option, std::string_view value) {
    put<uint16_t>(out, option);
    put(out, static_cast<uint16_t>(value.size()));
    put_padded(out, value);
}

void put_block(std::string& out, CaptureBlock type, const std::string& body) {
    const auto length = static_cast<uint32_t>(body.size() + 12);
    put<uint32_t>(out, type);
    put(out, length);
    out += body;
    put(out, length);
}

std::string section_body() {
    std::string body;
    put<uint32_t>(body, 0x1a2b3c4d);
    put<uint32_t>(body, 1);           // version 1.0
    put<uint64_t>(body, UINT64_MAX);  // of a length that is not said
    put_option(body, kApplication, "keyrail " KEYRAIL_VERSION);
    put<uint32_t>(body, kEnd);
    return body;
}

std::string interface_body(const std::string& name, uint32_t snap) {
    std::string body;
    put<uint32_t>(body, kEthernet);
    put(body, snap);
    put_option(body, kName, name);
    put_option(body, kResolution, {&kNanoseconds, 1});
    put<uint32_t>(body, kEnd);
    return body;
}

std::string packet_body(const link::TraceRecord& record, uint32_t interface, std::string comment) {
    std::string body;
    put(body, interface);
    put(body, static_cast<uint32_t>(record.unix_ns() >> 32));
    put(body, static_cast<uint32_t>(record.unix_ns()));
    put(body, static_cast<uint32_t>(record.frame().size()));
    put(body, std::max(record.size(), static_cast<uint32_t>(record.frame().size())));
    put_padded(body, record.frame());
    comment.resize(std::min(comment.size(), kLongestComment));
    put_option(body, kComment, comment);
    std::string flags;
    put(flags, kInbound);
    put_option(body, kFlags, flags);
    put<uint32_t>(body, kEnd);
    return body;
}

}  // namespace

std::string capture_file(std::span<const link::TraceRecord> records, uint32_t snap,
                         const std::function<std::string(const link::TraceRecord&)>& comment) {
    std::string file;
    put_block(file, kSection, section_body());
    std::map<std::string, uint32_t> interfaces;
    for (const link::TraceRecord& record : records) {
        const auto [known, fresh] =
            interfaces.emplace(record.port(), static_cast<uint32_t>(interfaces.size()));
        if (fresh) put_block(file, kInterface, interface_body(record.port(), snap));
        put_block(file, kPacket, packet_body(record, known->second, comment(record)));
    }
    return file;
}

}  // namespace keyrail
