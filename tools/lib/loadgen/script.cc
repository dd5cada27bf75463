// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/script.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "tests/support/hellos.h"
#include "tests/support/session_names.h"

namespace keyrail::loadgen {
namespace {

using Bytes = std::vector<uint8_t>;

enum Record : uint8_t { change_cipher_spec = 20, handshake = 22, application_data = 23 };
// ClientHello in its record: type, version, length; type, length; version, random (RFC 8446 section 4.1.2).
constexpr size_t kRandomAt = 5 + 4 + 2, kSessionIdAt = kRandomAt + 32;
constexpr uint16_t kMaxSegments = 2;  // of a hello: ClientSide counts on it

/// A record whose content nobody can read.
void add_record(Bytes& out, Record type, uint16_t size) {
    out.insert(out.end(), {type, 3, 3, static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size)});
    uint8_t noise = 0x5a;
    for (uint16_t i = 0; i < size; i++) out.push_back(noise = static_cast<uint8_t>(noise * 29 + 17));
}

void add_change_cipher_spec(Bytes& out) { out.insert(out.end(), {change_cipher_spec, 3, 3, 0, 1, 1}); }

void add_extension(Bytes& out, uint16_t type, const Bytes& content) {
    const auto size = static_cast<uint16_t>(content.size());
    out.insert(out.end(), {static_cast<uint8_t>(type >> 8), static_cast<uint8_t>(type),
                           static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size)});
    out.insert(out.end(), content.begin(), content.end());
}

/// KeyShareServerHello: X25519, or with the ciphertext of ML-KEM-768 before it.
Bytes server_share(bool post_quantum) {
    Bytes share = post_quantum ? Bytes{0x11, 0xec, 0x04, 0x60} : Bytes{0, 29, 0, 32};
    share.insert(share.end(), post_quantum ? 1088 + 32 : 32, 0x33);
    return share;
}

/// RFC 8446 section 4.1.3; the session id is the client's, by which HAProxy learns where a session is.
Bytes server_hello(const ScriptOptions& options, const Bytes& client_hello) {
    const bool tls13 = options.tls_version == TlsVersion::tls13;
    Bytes extensions;
    if (tls13) {
        add_extension(extensions, 43, {3, 4});
        add_extension(extensions, 41, {0, 0});
        add_extension(extensions, 51, server_share(options.post_quantum));
    } else {
        extensions = {0xff, 1, 0, 1, 0, 0, 23, 0, 0};  // renegotiation info, extended master secret
    }
    Bytes body = {3, 3};
    body.insert(body.end(), 32, 0x77);  // random
    const auto id = client_hello.begin() + kSessionIdAt;
    body.insert(body.end(), id, id + 1 + *id);
    body.insert(body.end(),
                {uint8_t(tls13 ? 0x13 : 0xc0), uint8_t(tls13 ? 0x01 : 0x2f), 0,
                 static_cast<uint8_t>(extensions.size() >> 8), static_cast<uint8_t>(extensions.size())});
    body.insert(body.end(), extensions.begin(), extensions.end());
    const size_t size = body.size(), record = size + 4;
    body.insert(body.begin(),
                {handshake, 3, 3, static_cast<uint8_t>(record >> 8), static_cast<uint8_t>(record), 2, 0,
                 static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size)});
    return body;
}

/// ServerHello to Finished of a resumption, with ciphers of AES-128-GCM and SHA-256.
Bytes flight(const ScriptOptions& options, const Bytes& client_hello) {
    const bool tls13 = options.tls_version == TlsVersion::tls13;
    Bytes out = server_hello(options, client_hello);
    add_change_cipher_spec(out);
    if (tls13) add_record(out, application_data, 2 + 4 + 17);                // EncryptedExtensions
    add_record(out, tls13 ? application_data : handshake, tls13 ? 53 : 40);  // Finished
    return out;
}

/// The client's Finished, and a short request.
Bytes request(bool tls13) {
    Bytes out;
    add_change_cipher_spec(out);
    add_record(out, tls13 ? application_data : handshake, tls13 ? 53 : 40);
    add_record(out, application_data, 100);
    return out;
}

/// A short answer; in TLS 1.3 behind the ticket for the next time.
Bytes response(bool tls13) {
    Bytes out;
    if (tls13) add_record(out, application_data, 4 + 4 + 4 + 9 + 2 + 32 + 2 + 17);
    add_record(out, application_data, 200);
    return out;
}

/// Its random begins with its number, by which the other side knows it again.
Bytes client_hello(const ScriptOptions& options, uint64_t number, uint16_t home) {
    Bytes hello =
        test::client_hello({.max_version = options.tls_version,
                            .name = testing::name_at(options.name_key, options.name_generation, home, number),
                            .post_quantum = options.post_quantum});
    std::memcpy(&hello[kRandomAt], &number, sizeof number);
    return hello;
}

}  // namespace

Payload Script::keep(Bytes bytes) { return payload_of(bytes_.emplace_back(std::move(bytes))); }

Result<void> Script::keep_hello(Bytes hello) {
    const std::span<const uint8_t> kept = bytes_.emplace_back(std::move(hello));
    if (hellos_.empty()) {
        lengths_.hello = static_cast<uint16_t>(kept.size());
        hello_segments_ = static_cast<uint16_t>((kept.size() + kMss - 1) / kMss);
    }
    if (kept.size() != lengths_.hello || hello_segments_ > kMaxSegments)
        return fail("ClientHellos of {} and {} bytes; all must be of one size, at most {}", kept.size(),
                    lengths_.hello, kMaxSegments * kMss);
    hellos_.push_back(kept);
    for (size_t at = 0; at < kept.size(); at += kMss)
        pieces_.push_back(payload_of(kept.subspan(at, std::min(kMss, kept.size() - at))));
    return {};
}

Result<Script> Script::create(const ScriptOptions& options) try {
    Script script;
    script.blades_ = options.blades;
    const bool tls13 = options.tls_version == TlsVersion::tls13;
    for (uint32_t i = 0; i < options.hellos; i++) {
        Bytes hello = client_hello(options, i, script.home(i));
        script.flights_.push_back(script.keep(flight(options, hello)));
        if (auto kept = script.keep_hello(std::move(hello)); !kept) return tl::make_unexpected(kept.error());
    }
    script.request_ = script.keep(request(tls13));
    script.response_ = script.keep(response(tls13));
    script.lengths_.request = script.request_.size;
    script.lengths_.flight = script.flights_[0].size;
    script.lengths_.response = script.response_.size;
    const SessionName first = testing::name_at(options.name_key, options.name_generation, script.home(0), 0);
    if (std::ranges::search(script.hellos_[0], first).empty())
        return fail("OpenSSL made a ClientHello without the session that it was told to resume");
    return script;
} catch (const std::runtime_error& error) {
    return fail("OpenSSL makes no ClientHello: {}", error.what());
}

std::span<const Payload> Script::segments(Say say, uint32_t hello) const {
    static constexpr Payload kNothing;
    switch (say) {
        case Say::hello:
            return std::span(pieces_).subspan(size_t{hello} * hello_segments_, hello_segments_);
        case Say::flight:
            return {&flights_[hello], 1};
        case Say::request:
            return {&request_, 1};
        case Say::response:
            return {&response_, 1};
        default:
            return {&kNothing, 1};
    }
}

bool Script::has(uint32_t hello, size_t offset, std::span<const uint8_t> bytes) const {
    const std::span<const uint8_t> whole = hellos_[hello];
    if (offset >= whole.size()) return true;
    return std::memcmp(&whole[offset], bytes.data(), std::min(whole.size() - offset, bytes.size())) == 0;
}

uint32_t Script::recognise(std::span<const uint8_t> first_bytes) const {
    uint64_t number = 0;
    if (first_bytes.size() < kRandomAt + sizeof number) return kUnknown;
    std::memcpy(&number, &first_bytes[kRandomAt], sizeof number);
    if (number >= hellos_.size()) return kUnknown;
    const auto hello = static_cast<uint32_t>(number);
    return has(hello, 0, first_bytes) ? hello : kUnknown;
}

}  // namespace keyrail::loadgen
