// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/client_hello.h"

#include <algorithm>
#include <optional>

#include "dataplane/wire/proxy_header.h"
#include "dataplane/wire/sslv2_hello.h"

namespace keyrail {
namespace {

enum Extension : uint16_t {  // those that we read
    kServerName = 0,
    kAlpn = 16,
    kSessionTicket = 35,
    kPreSharedKey = 41,
    kEarlyData = 42,
    kSupportedVersions = 43,
    kPskKeyExchangeModes = 45,
    kEncryptedClientHello = 0xfe0d,
};

void read_server_name(Cursor body, ClientHello& hello) {  // RFC 6066 section 3
    constexpr uint8_t kHostName = 0;
    for (Cursor list = body.part16(); list.more();) {
        const uint8_t type = list.u8();
        const Bytes name = list.vector16();
        if (type == kHostName && hello.server_name.empty()) hello.server_name = name;
    }
}

void read_alpn(Cursor body, ClientHello& hello) {  // RFC 7301 section 3.1
    Cursor list = body.part16();
    hello.alpn = list.rest();
    while (list.more()) list.vector8();
}

void read_supported_versions(Cursor body, ClientHello& hello) {  // RFC 8446 section 4.2.1
    for (Cursor list = body.part8(); list.more();) {
        const uint16_t version = list.u16();
        hello.offers_tls13 |= version == number_of(TlsVersion::tls13);
        if (version >> 8 == 3) hello.version = std::max(hello.version, version);  // not GREASE, no draft
    }
}

void read_psk_modes(Cursor body, ClientHello& hello) {  // RFC 8446 section 4.2.9
    for (Cursor list = body.part8(); list.more();) {
        const uint8_t mode = list.u8();
        hello.psk_ke |= mode == 0;
        hello.psk_dhe_ke |= mode == 1;
    }
}

void read_pre_shared_key(Cursor body, ClientHello& hello) {  // RFC 8446 section 4.2.11
    hello.has_psk = true;
    Cursor list = body.part16();
    hello.psk_identities = list.rest();
    while (list.more()) {
        list.vector16();
        list.take(4);  // obfuscated_ticket_age
    }
}

[[gnu::always_inline]] inline void read_extension(uint16_t type, Cursor body, ClientHello& hello) {
    switch (type) {
        case kServerName:
            return body.more() ? read_server_name(body, hello) : void();
        case kAlpn:
            return read_alpn(body, hello);
        case kSessionTicket:
            hello.has_session_ticket = true;
            hello.session_ticket = body.rest();
            return;
        case kPreSharedKey:
            return read_pre_shared_key(body, hello);
        case kEarlyData:
            hello.early_data = true;
            return;
        case kSupportedVersions:
            return read_supported_versions(body, hello);
        case kPskKeyExchangeModes:
            return read_psk_modes(body, hello);
        case kEncryptedClientHello:
            hello.ech = true;
            return;
        default:  // of no interest here, GREASE (RFC 8701) among them
            return;
    }
}

constexpr uint64_t bit(uint16_t type) { return uint64_t{1} << type; }
constexpr uint16_t kKinds = 64;
constexpr uint64_t kRead = bit(kServerName) | bit(kAlpn) | bit(kSessionTicket) | bit(kPreSharedKey) |
                           bit(kEarlyData) | bit(kSupportedVersions) | bit(kPskKeyExchangeModes);

/// The next extension. `seen`: those before it, of the first kKinds. What a server must refuse is a fault, as
/// with OpenSSL: a second one of a kind that it knows, and a pre_shared_key that is not the last (RFC 8446
/// sections 4.2 and 4.2.11).
[[gnu::always_inline]] inline void read_next(Cursor& extensions, uint64_t& seen, ClientHello& hello) {
    uint16_t type = 0;
    const Bytes body = extensions.typed_vector16(type);
    if (type < kKinds) [[likely]] {
        extensions.expect((seen & bit(type)) == 0, body.data());
        seen |= bit(type);
        if ((kRead & bit(type)) == 0) return;
    }
    read_extension(type, extensions.over(body), hello);
    if (type == kPreSharedKey) extensions.expect(!extensions.more());
}

/// Steps over an extension of which only the beginning lies in `here`: it must be of a kind whose content
/// says nothing to us, like a large key share. Gives what is behind it in `second`; none: it is of another
/// kind, or does not end there.
std::optional<Bytes> behind_cut_extension(Cursor here, Bytes second, uint64_t& seen, ClientHello& hello) {
    if (here.rest().size() < 4) return std::nullopt;
    const uint16_t type = here.u16();
    const size_t content = here.u16(), rest = content - here.rest().size();
    if (rest > second.size() || hello.has_psk) return std::nullopt;  // PSK: is not the last one
    if (type < kKinds) {
        if (((kRead | seen) & bit(type)) != 0) return std::nullopt;
        seen |= bit(type);
    }
    hello.ech |= type == kEncryptedClientHello;
    return second.subspan(rest);
}

/// All that there are. One loop with all of it inlined: it is most of what reading a hello costs.
[[gnu::noinline]] void read_extensions(Cursor here, uint64_t seen, ClientHello& hello) {
    while (here.more()) read_next(here, seen, hello);
}

/// Those of two pieces. False: see parse_in_two_pieces(). A loop of its own: asked each time in the one above
/// which of the two it is, a hello in one piece would cost a twentieth more.
[[gnu::noinline]] bool read_extensions_in_two(Cursor here, Bytes second, Fault& fault, ClientHello& hello) {
    uint64_t seen = 0;
    while (here.has_typed_vector16()) read_next(here, seen, hello);
    const auto behind = behind_cut_extension(here, second, seen, hello);
    if (!behind) return false;
    read_extensions(Cursor(*behind, fault), seen, hello);
    return true;
}

/// RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2: what is before the extensions.
[[gnu::always_inline]] inline void read_fields(Cursor& body, ClientHello& hello) {
    constexpr size_t kRandom = 32, kSessionIdMax = 32;
    hello.legacy_version = hello.version = body.u16();
    body.take(kRandom);
    Cursor session_id = body.part8();
    session_id.expect(session_id.rest().size() <= kSessionIdMax);
    if (session_id.rest().size() <= kSessionIdMax) hello.session_id = session_id.rest();
    const Cursor suites = body.part16();
    body.expect(suites.rest().size() % 2 == 0);
    body.vector8();  // compression methods
}

void read_body(Cursor body, ClientHello& hello) {
    read_fields(body, hello);
    if (!body.more()) return;  // TLS 1.2 and before: no extensions at all
    read_extensions(body.part16(), 0, hello);
    body.expect(body.rest().empty());
}

}  // namespace

Bytes ClientHello::ticket_key_name() const {
    constexpr size_t kKeyName = 16, kTicketMin = 32;
    if (session_ticket.size() >= kKeyName) return session_ticket.first(kKeyName);
    Bytes found;
    each_psk_identity(*this, [&](Bytes identity) {
        if (found.empty() && identity.size() >= kTicketMin && identity.size() != kSessionNameSize)
            found = identity.first(kKeyName);
    });
    return found;
}

namespace {

/// What is no TLS may have a PROXY header in front. `bare`: what it is without one.
[[gnu::noinline]] HelloResult parse_behind_header(Bytes stream, const HelloResult& bare,
                                                  std::span<uint8_t> scratch, const HelloLimits& limits,
                                                  ClientHello& hello) {
    const ProxyHeader header = read_proxy_header(stream);
    if (header.kind == ProxyHeader::none) return bare;
    if (header.kind == ProxyHeader::need_more) return {HelloStatus::need_more, header.size};
    HelloLimits behind = limits;
    behind.proxy_header = false;  // there is one at most
    HelloResult result = parse_client_hello(stream.subspan(header.size), scratch, behind, hello);
    result.offset += header.size;
    if (result.size > 0) result.size += header.size;
    return result;
}

}  // namespace

HelloResult parse_client_hello(Bytes stream, std::span<uint8_t> scratch, const HelloLimits& limits,
                               ClientHello& hello) {
    hello = {};
    if (starts_like_sslv2(stream)) return parse_sslv2_hello(stream, hello);
    const HandshakeMessage message = first_message(stream, scratch, limits);
    if (message.status == HelloStatus::not_tls && limits.proxy_header) [[unlikely]]
        return parse_behind_header(stream, {message.status, message.offset, 0, message.records}, scratch,
                                   limits, hello);
    if (message.status == HelloStatus::need_more && !limits.read_partial)
        return {message.status, message.offset, 0, message.records};
    Fault fault;
    read_body(Cursor(message.body, fault), hello);
    if (message.status != HelloStatus::complete) return {message.status, message.offset, 0, message.records};
    if (!fault) return {HelloStatus::complete, message.offset, message.offset, message.records};
    return {HelloStatus::malformed, stream_offset(stream, kMessageHeader + *fault), message.offset,
            message.records};
}

HelloResult parse_in_one_record(Bytes stream, size_t end, ClientHello& hello) {
    hello = {};
    Fault fault;
    read_body(Cursor(stream.subspan(kHelloHeaders, end - kHelloHeaders), fault), hello);
    const auto size = static_cast<uint32_t>(end);
    if (!fault) [[likely]]
        return {HelloStatus::complete, size, size, 1};
    return {HelloStatus::malformed, static_cast<uint32_t>(kHelloHeaders + *fault), size, 1};
}

bool parse_in_two_pieces(Bytes first, Bytes second, size_t end, ClientHello& hello, HelloResult& result) {
    if (end <= first.size() || end - first.size() > second.size()) return false;
    second = second.first(end - first.size());
    hello = {};
    Fault fault;
    Cursor here(first.subspan(kHelloHeaders), fault);
    read_fields(here, hello);
    const size_t size = here.u16();
    if (fault || size != here.rest().size() + second.size()) return false;
    if (!read_extensions_in_two(here, second, fault, hello)) return false;
    result = {HelloStatus::complete, static_cast<uint32_t>(end), static_cast<uint32_t>(end), 1};
    return !fault;
}

size_t session_names(const ClientHello& hello, std::array<SessionName, kMaxNames>& names) {
    size_t count = 0;
    const auto add = [&](Bytes name) {
        if (name.size() != kSessionNameSize || count == kMaxNames) return;
        std::memcpy(names[count++].data(), name.data(), kSessionNameSize);
    };
    if (hello.has_psk) {
        each_psk_identity(hello, add);
    } else if (!hello.session_ticket.empty()) {
        if (hello.session_ticket.size() > kSessionNameSize) add(hello.session_ticket.first(kSessionNameSize));
    } else if (!hello.sslv2) {
        add(hello.session_id);
    }
    return count;
}

}  // namespace keyrail
