// SPDX-License-Identifier: Apache-2.0
// A record of the store, as the hooks read it: any bytes in the place of i2d_SSL_SESSION's, any times, any
// session id context. What decodes is a session that can be stored again, and that is the same then.
#include <algorithm>
#include <cstring>

#include "control/hooks/session_codec.h"

namespace {

constexpr uint64_t kNow = 1'700'000'000'000;

template <typename T>
T next(const uint8_t*& data, size_t& size) {
    T value{};
    const size_t part = std::min(size, sizeof value);
    std::memcpy(&value, data, part);
    data += part;
    size -= part;
    return value;
}

/// Otherwise hardly anything would get past the comparison of names.
void take_name(keyrail::SessionRecord& record) {
    const unsigned char* at = record.der.data();
    SSL_SESSION* const session = d2i_SSL_SESSION(nullptr, &at, record.der_size);
    unsigned int length = 0;
    if (session == nullptr) return;
    const unsigned char* const id = SSL_SESSION_get_id(session, &length);
    std::copy_n(id, std::min<size_t>(length, record.name.size()), record.name.begin());
    record.tls_version = static_cast<keyrail::TlsVersion>(SSL_SESSION_get_protocol_version(session));
    SSL_SESSION_free(session);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace keyrail;
    SessionRecord record;
    const auto own_name = next<uint8_t>(data, size);  // even: the record has the name of its session
    record.name = next<SessionName>(data, size);
    record.tls_version = next<TlsVersion>(data, size);
    record.created_ms = next<uint64_t>(data, size);
    record.authenticated_ms = next<uint64_t>(data, size);
    record.expires_ms = next<uint64_t>(data, size);
    record.uses = next<uint8_t>(data, size);
    record.der_size = static_cast<uint16_t>(std::min(size, record.der.size()));
    std::memcpy(record.der.data(), data, record.der_size);
    if (own_name % 2 == 0) take_name(record);
    SSL_SESSION* const session = hooks::decode(record, kNow);
    if (session == nullptr) return 0;
    SessionRecord again;
    hooks::Lineage lineage{record.authenticated_ms, record.uses, record.digest};
    SessionPolicy policy;
    policy.lifetime_s = 3600;
    if (hooks::encode(session, lineage, policy, {}, kNow, again)) {
        SSL_SESSION* const second = hooks::decode(again, kNow);
        if (second == nullptr) __builtin_trap();
        if (SSL_SESSION_get_protocol_version(second) != SSL_SESSION_get_protocol_version(session))
            __builtin_trap();
        SSL_SESSION_free(second);
    }
    SSL_SESSION_free(session);
    return 0;
}
