// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse/client_hello.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "dataplane/parse/headers.h"

namespace keyrail {
namespace {

/// A bounded reader: every read says whether it was there. Once it failed it stays failed.
class Cursor {
  public:
    explicit Cursor(Bytes bytes) : bytes_(bytes) {}
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] bool empty() const { return at_ == bytes_.size(); }
    [[nodiscard]] size_t at() const { return at_; }

    Bytes take(size_t n) {
        if (n > bytes_.size() - at_) ok_ = false;
        if (!ok_) return {};
        at_ += n;
        return bytes_.subspan(at_ - n, n);
    }
    uint8_t u8() {
        const Bytes b = take(1);
        return b.empty() ? uint8_t{0} : b[0];
    }
    uint16_t u16() {
        const Bytes b = take(2);
        return b.empty() ? uint16_t{0} : load16(b.data());
    }
    Bytes vector8() { return take(u8()); }
    Bytes vector16() { return take(u16()); }

  private:
    Bytes bytes_;
    size_t at_ = 0;
    bool ok_ = true;
};

// --- TLS records (RFC 8446 section 5.1)

constexpr uint8_t kRecordHandshake = 22, kClientHello = 1;
constexpr size_t kRecordHeader = 5, kMessageHeader = 4;
constexpr size_t kRecordMax = 16384;

struct Message {
    HelloStatus status;
    uint32_t offset;  // see HelloResult
    Bytes body;       // the ClientHello without its handshake header
};

Message stop(HelloStatus status, size_t offset) { return {status, static_cast<uint32_t>(offset), {}}; }

/// One record's fragment, as much of it as is there.
struct Fragment {
    HelloStatus status = HelloStatus::complete;  // complete: the header makes sense
    size_t offset = 0;                           // of what is wrong, or what is needed
    size_t declared = 0;                         // length by the record header
    Bytes present;
};

Fragment read_record(Bytes stream, size_t at) {
    const Bytes record = stream.subspan(at);
    if (!record.empty() && record[0] != kRecordHandshake) return {HelloStatus::not_tls, at, 0, {}};
    if (record.size() > 1 && record[1] != 3) return {HelloStatus::not_tls, at + 1, 0, {}};
    if (record.size() < kRecordHeader) return {HelloStatus::need_more, at + kRecordHeader + 1, 0, {}};
    const size_t declared = load16(&record[3]);
    if (declared == 0 || declared > kRecordMax) return {HelloStatus::malformed, at + 3, 0, {}};
    const Bytes rest = record.subspan(kRecordHeader);
    return {HelloStatus::complete, at, declared, rest.first(std::min(declared, rest.size()))};
}

/// Gathers the first handshake message. In one record it is a view; over several it is copied into `scratch`.
Message first_message(Bytes stream, std::span<uint8_t, kHelloScratch> scratch) {
    size_t at = 0, gathered = 0, wanted = 0;
    Bytes message;  // gathered bytes, wherever they are
    while (true) {
        const Fragment fragment = read_record(stream, at);
        if (fragment.status != HelloStatus::complete) {
            // After a first good record this was TLS: a bad second one is malformed, not something else.
            const bool later = at > 0 && fragment.status == HelloStatus::not_tls;
            return stop(later ? HelloStatus::malformed : fragment.status, fragment.offset);
        }
        const size_t start = at + kRecordHeader;
        if (gathered + fragment.present.size() > scratch.size()) return stop(HelloStatus::malformed, start);
        if (at == 0) {
            message = fragment.present;
        } else {
            if (message.data() != scratch.data()) std::memcpy(scratch.data(), message.data(), gathered);
            std::memcpy(&scratch[gathered], fragment.present.data(), fragment.present.size());
            message = {scratch.data(), gathered + fragment.present.size()};
        }
        gathered = message.size();
        if (gathered > 0 && message[0] != kClientHello) return stop(HelloStatus::not_tls, kRecordHeader);
        if (gathered >= kMessageHeader) {
            wanted = kMessageHeader + load24(&message[1]);
            if (wanted > kHelloLimit) return stop(HelloStatus::malformed, kRecordHeader + 1);
        }
        if (wanted != 0 && gathered >= wanted) {
            const size_t end = start + fragment.present.size() - (gathered - wanted);
            return {HelloStatus::complete, static_cast<uint32_t>(end),
                    message.subspan(kMessageHeader, wanted - kMessageHeader)};
        }
        if (const size_t in_record = fragment.declared - fragment.present.size(); in_record > 0) {
            const size_t in_message = wanted > gathered ? wanted - gathered : in_record;
            return stop(HelloStatus::need_more, stream.size() + std::min(in_message, in_record));
        }
        at = start + fragment.declared;
    }
}

// --- extensions (RFC 8446 section 4.2)

enum Extension : uint16_t {
    kServerName = 0,
    kAlpn = 16,
    kPreSharedKey = 41,
    kEarlyData = 42,
    kSupportedVersions = 43,
};

constexpr uint16_t kTls13 = 0x0304;

bool read_server_name(Bytes body, ClientHello& hello) {  // RFC 6066 section 3
    Cursor list(Cursor(body).vector16());
    while (list.ok() && !list.empty()) {
        const uint8_t type = list.u8();
        const Bytes name = list.vector16();
        if (list.ok() && type == 0 && hello.server_name.empty()) hello.server_name = name;
    }
    return list.ok();
}

bool read_supported_versions(Bytes body, ClientHello& hello) {
    Cursor list(Cursor(body).vector8());
    while (list.ok() && !list.empty()) hello.offers_tls13 |= list.u16() == kTls13;
    return list.ok();
}

bool read_pre_shared_key(Bytes body, ClientHello& hello) {
    Cursor cursor(body);
    const Bytes identities = cursor.vector16();
    if (!cursor.ok()) return false;
    for (Cursor list(identities); !list.empty();) {
        list.vector16();
        list.take(4);  // obfuscated_ticket_age
        if (!list.ok()) return false;
    }
    hello.psk_identities = identities;
    hello.has_psk = true;
    return true;
}

bool read_extension(uint16_t type, Bytes body, ClientHello& hello) {
    switch (type) {
        case kServerName:
            return body.empty() || read_server_name(body, hello);
        case kAlpn: {
            Cursor cursor(body);
            hello.alpn = cursor.vector16();
            return cursor.ok();
        }
        case kSupportedVersions:
            return read_supported_versions(body, hello);
        case kEarlyData:
            hello.early_data = true;
            return true;
        case kPreSharedKey:
            return read_pre_shared_key(body, hello);
        default:
            return true;
    }
}

/// ClientHello body, RFC 8446 section 4.1.2 and RFC 5246 section 7.4.1.2. Returns where it failed, or
/// nullopt.
std::optional<size_t> read_body(Bytes body, ClientHello& hello) {
    Cursor cursor(body);
    hello.legacy_version = cursor.u16();
    cursor.take(32);  // random
    hello.session_id = cursor.vector8();
    if (hello.session_id.size() > 32) return cursor.at();
    cursor.vector16();  // cipher suites
    cursor.vector8();   // compression methods
    if (!cursor.ok()) return cursor.at();
    if (cursor.empty()) return std::nullopt;  // TLS 1.2 and before: no extensions at all
    Cursor extensions(cursor.vector16());
    if (!cursor.ok() || !cursor.empty()) return cursor.at();
    const size_t base = body.size();
    while (!extensions.empty()) {
        const uint16_t type = extensions.u16();
        const Bytes value = extensions.vector16();
        if (!extensions.ok() || !read_extension(type, value, hello)) return base;
    }
    return std::nullopt;
}

}  // namespace

HelloResult parse_client_hello(Bytes stream, std::span<uint8_t, kHelloScratch> scratch, ClientHello& hello) {
    hello = {};
    const Message message = first_message(stream, scratch);
    if (message.status != HelloStatus::complete) return {message.status, message.offset};
    if (const auto bad = read_body(message.body, hello)) {
        return {HelloStatus::malformed, static_cast<uint32_t>(kRecordHeader + kMessageHeader + *bad)};
    }
    return {HelloStatus::complete, message.offset};
}

size_t session_names(const ClientHello& hello, std::array<SessionName, kMaxNames>& names) {
    size_t count = 0;
    const auto add = [&](Bytes name) {
        if (name.size() == kSessionNameSize && count < kMaxNames)
            std::memcpy(names[count++].data(), name.data(), kSessionNameSize);
    };
    if (!hello.has_psk) {
        add(hello.session_id);
        return count;
    }
    for (Cursor list(hello.psk_identities); list.ok() && !list.empty(); list.take(4)) add(list.vector16());
    return count;
}

}  // namespace keyrail
