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

/// A record whose content nobody can read.
void add_record(Bytes& out, Record type, uint16_t size) {
    out.insert(out.end(), {type, 3, 3, static_cast<uint8_t>(size >> 8), static_cast<uint8_t>(size)});
    uint8_t noise = 0x5a;
    for (uint16_t i = 0; i < size; i++) out.push_back(noise = static_cast<uint8_t>(noise * 29 + 17));
}

void add_change_cipher_spec(Bytes& out) { out.insert(out.end(), {change_cipher_spec, 3, 3, 0, 1, 1}); }

/// RFC 8446 section 4.1.3; the session id is the client's, by which HAProxy learns where a session is.
Bytes server_hello(bool tls13, const Bytes& client_hello) {
    Bytes extensions;
    if (tls13) {
        extensions = {0, 43, 0, 2, 3, 4, 0, 41, 0, 2, 0, 0, 0, 51, 0, 36, 0, 29, 0, 32};
        extensions.insert(extensions.end(), 32, 0x33);  // an x25519 share
    } else {
        extensions = {0xff, 1, 0, 1, 0, 0, 23, 0, 0};  // renegotiation info, extended master secret
    }
    Bytes body = {3, 3};
    body.insert(body.end(), 32, 0x77);  // random
    const auto id = client_hello.begin() + kSessionIdAt;
    body.insert(body.end(), id, id + 1 + *id);
    body.insert(body.end(), {uint8_t(tls13 ? 0x13 : 0xc0), uint8_t(tls13 ? 0x01 : 0x2f), 0, 0,
                             static_cast<uint8_t>(extensions.size())});
    body.insert(body.end(), extensions.begin(), extensions.end());
    const auto size = static_cast<uint8_t>(body.size());
    Bytes out = {handshake, 3, 3, 0, static_cast<uint8_t>(size + 4), 2, 0, 0, size};
    out.insert(out.end(), body.begin(), body.end());
    return out;
}

/// ServerHello to Finished of a resumption, with ciphers of AES-128-GCM and SHA-256.
Bytes flight(bool tls13, const Bytes& client_hello) {
    Bytes out = server_hello(tls13, client_hello);
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
    Bytes hello = test::client_hello(
        {.max_version = options.tls_version,
         .name = testing::name_at(options.name_key, options.name_generation, home, number)});
    std::memcpy(&hello[kRandomAt], &number, sizeof number);
    return hello;
}

}  // namespace

Result<Script> Script::create(const ScriptOptions& options) try {
    Script script;
    script.blades_ = options.blades;
    const bool tls13 = options.tls_version == 0x0304;
    const auto keep = [&](Bytes bytes) { return payload_of(script.bytes_.emplace_back(std::move(bytes))); };
    for (uint32_t i = 0; i < options.hellos; i++) {
        Bytes hello = client_hello(options, i, script.home(i));
        script.flights_.push_back(keep(flight(tls13, hello)));
        script.hellos_.push_back(keep(std::move(hello)));
    }
    script.request_ = keep(request(tls13));
    script.response_ = keep(response(tls13));
    script.lengths_ = {.hello = script.hellos_[0].size,
                       .request = script.request_.size,
                       .flight = script.flights_[0].size,
                       .response = script.response_.size};

    const SessionName first = testing::name_at(options.name_key, options.name_generation, script.home(0), 0);
    if (std::ranges::search(script.bytes_[1], first).empty())
        return fail("OpenSSL made a ClientHello without the session that it was told to resume");
    for (const Payload& one : script.hellos_)
        if (one.size != script.lengths_.hello || one.size > kMss)
            return fail("ClientHellos of {} and {} bytes; all must be of one size, at most {}", one.size,
                        script.lengths_.hello, kMss);
    return script;
} catch (const std::runtime_error& error) {
    return fail("OpenSSL makes no ClientHello: {}", error.what());
}

Payload Script::payload(Say say, uint32_t hello) const {
    switch (say) {
        case Say::hello:
            return hellos_[hello];
        case Say::flight:
            return flights_[hello];
        case Say::request:
            return request_;
        case Say::response:
            return response_;
        default:
            return {};
    }
}

uint32_t Script::recognise(std::span<const uint8_t> first_bytes) const {
    uint64_t number = 0;
    if (first_bytes.size() < kRandomAt + sizeof number) return kUnknown;
    std::memcpy(&number, &first_bytes[kRandomAt], sizeof number);
    if (number >= hellos_.size()) return kUnknown;
    const Payload& hello = hellos_[number];
    const size_t size = std::min<size_t>(hello.size, first_bytes.size());
    return std::memcmp(hello.data, first_bytes.data(), size) == 0 ? static_cast<uint32_t>(number) : kUnknown;
}

}  // namespace keyrail::loadgen
