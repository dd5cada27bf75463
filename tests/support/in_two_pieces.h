// SPDX-License-Identifier: Apache-2.0
// What parse_in_two_pieces() promises, as a question: whatever the stream and wherever it is cut, it either
// says nothing, or what parse_client_hello() says of all the bytes.
#pragma once

#include <algorithm>
#include <vector>

#include "dataplane/wire/client_hello.h"

namespace keyrail::test {

/// All that a hello says, its views' bytes included.
inline bool same(const ClientHello& a, const ClientHello& b) {
    const auto flags = [](const ClientHello& h) {
        return std::array{h.offers_tls13, h.early_data,         h.psk_ke, h.psk_dhe_ke,
                          h.has_psk,      h.has_session_ticket, h.ech,    h.sslv2};
    };
    return a.legacy_version == b.legacy_version && a.version == b.version && flags(a) == flags(b) &&
           std::ranges::equal(a.session_id, b.session_id) &&
           std::ranges::equal(a.server_name, b.server_name) && std::ranges::equal(a.alpn, b.alpn) &&
           std::ranges::equal(a.psk_identities, b.psk_identities) &&
           std::ranges::equal(a.session_ticket, b.session_ticket);
}

enum class Told : uint8_t { nothing, the_same, something_else };

inline Told told_in_two_pieces(Bytes stream, size_t cut, const HelloLimits& limits) {
    static std::array<uint8_t, kHelloMax> scratch;
    const std::vector<uint8_t> first(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(cut));
    const std::vector<uint8_t> second(stream.begin() + static_cast<ptrdiff_t>(cut), stream.end());
    ClientHello in_two, at_once;
    HelloResult result{};
    const size_t end = limits.records == 0 ? 0 : end_in_one_record(first, limits.bytes);
    if (!parse_in_two_pieces(first, second, end, in_two, result)) return Told::nothing;
    const HelloResult whole = parse_client_hello(stream, scratch, limits, at_once);
    const bool agree = result.status == whole.status && result.offset == whole.offset &&
                       result.size == whole.size && result.records == whole.records;
    return agree && same(in_two, at_once) ? Told::the_same : Told::something_else;
}

}  // namespace keyrail::test
