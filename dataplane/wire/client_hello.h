// SPDX-License-Identifier: Apache-2.0
// Stage `parse`, second half: the ClientHello at the start of a client's byte stream.
// Pure, allocation-free, no copies but for a handshake message that spans TLS records (RFC 8446 section 5.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/common/session_name.h"
#include "dataplane/wire/tls_records.h"

namespace keyrail {

/// Views into the stream (or into the scratch buffer): they live as long as those bytes.
struct ClientHello {
    uint16_t legacy_version = 0;
    uint16_t version = 0;       // the highest one offered
    bool offers_tls13 = false;  // supported_versions has it
    bool early_data = false;
    bool psk_ke = false, psk_dhe_ke = false;  // psk_key_exchange_modes, RFC 8446 section 4.2.9
    bool has_psk = false;
    bool has_session_ticket = false;
    bool ech = false;      // Encrypted Client Hello: server_name is the outer one
    bool sslv2 = false;    // SSLv2-compatible, RFC 5246 appendix E.2
    Bytes session_id;      // <= 32 bytes
    Bytes server_name;     // first host_name of server_name, RFC 6066 section 3
    Bytes alpn;            // ProtocolNameList without its length, RFC 7301 section 3.1
    Bytes psk_identities;  // PskIdentity list without its length, RFC 8446 section 4.2.11
    Bytes session_ticket;  // RFC 5077 section 3.2

    /// It would resume a session, wherever that is. TLS 1.3 clients fill session_id with random bytes (RFC
    /// 8446 appendix D.4): that names none.
    [[nodiscard]] bool offers_session() const {
        return has_psk || !session_ticket.empty() || (!offers_tls13 && !sslv2 && !session_id.empty());
    }
    /// The first 16 bytes of a stateless ticket name its key (RFC 5077 section 4; OpenSSL, nginx and others
    /// keep to it in TLS 1.3, too). Empty where there is no ticket; a name of ours is none.
    [[nodiscard]] Bytes ticket_key_name() const;
};

struct HelloResult {
    HelloStatus status;
    uint32_t offset;       // see HelloStatus
    uint32_t size = 0;     // stream bytes of the whole message; 0: it is not whole (malformed has both cases)
    uint16_t records = 0;  // TLS records that it lies in
};

/// Reads the ClientHello at the start of `stream`. `scratch` takes the message when it spans several records.
/// Of a malformed message `hello` has what could be read.
HelloResult parse_client_hello(Bytes stream, std::span<uint8_t> scratch, const HelloLimits& limits,
                               ClientHello& hello);

/// The same for a hello that is whole, in one record: of which end_in_one_record() says that it ends at
/// `end`.
HelloResult parse_in_one_record(Bytes stream, size_t end, ClientHello& hello);

/// The same for a stream in two pieces, as the hello of today comes, without copying them together;
/// end_in_one_record() says of the first that it ends at `end`. False: this cannot tell (an extension that is
/// read lies in both, something is wrong with it, it is not whole, it lies in one piece, ...), and `hello`
/// and `result` say nothing; parse_client_hello() of all the bytes does.
bool parse_in_two_pieces(Bytes first, Bytes second, size_t end, ClientHello& hello, HelloResult& result);

/// Calls `use(identity)` for each PSK identity, in the client's order.
template <typename Use>
void each_psk_identity(const ClientHello& hello, Use use) {
    Fault fault;
    for (Cursor list(hello.psk_identities, fault); list.more(); list.take(4)) {
        const Bytes identity = list.vector16();
        if (!fault) use(identity);
    }
}

/// Calls `use(protocol)` for each ALPN protocol name.
template <typename Use>
void each_alpn_protocol(const ClientHello& hello, Use use) {
    Fault fault;
    for (Cursor list(hello.alpn, fault); list.more();) {
        const Bytes protocol = list.vector8();
        if (!fault) use(protocol);
    }
}

/// The session names that a hello offers, in its order: PSK identities where there are any, else the
/// beginning of its ticket (control/hooks/tickets.h), behind which a server does not look at the session id,
/// which is made up (RFC 5077 section 3.4), else the session id; only those of our length, so foreign ones
/// take no place. Returns how many of `names` were filled.
inline constexpr size_t kMaxNames = 4;
size_t session_names(const ClientHello& hello, std::array<SessionName, kMaxNames>& names);

}  // namespace keyrail
