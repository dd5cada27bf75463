// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/server_name.h"

#include <strings.h>

#include <array>
#include <cstring>

#include "control/hooks/openssl_calls.h"

namespace keyrail::hooks {

namespace {

struct Asked {
    const SSL* ssl = nullptr;
    const char* name = nullptr;
    SSL_SESSION* session = nullptr;
};
thread_local Asked asked;

using Name = std::array<char, TLSEXT_MAXLEN_host_name + 1>;

/// The host name of the ClientHello at hand; empty: it has none. False: it makes no sense.
bool read_name(SSL* ssl, Name& name) {
    name[0] = '\0';
    const unsigned char* bytes = nullptr;
    size_t size = 0;
    if (openssl().SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &size) != 1) return true;
    // ServerNameList: its length (2), one entry: type (1), length (2), name
    constexpr size_t kBefore = 5;
    if (size < kBefore || bytes[2] != TLSEXT_NAMETYPE_host_name) return false;
    const size_t length = static_cast<size_t>(bytes[3]) << 8 | bytes[4];
    if (length == 0 || length != size - kBefore || length >= name.size()) return false;
    if (std::memchr(&bytes[kBefore], 0, length) != nullptr) return false;
    std::memcpy(name.data(), &bytes[kBefore], length);
    name[length] = '\0';
    return true;
}

}  // namespace

AskedSite::AskedSite(SSL* ssl, const ContextHooks& began_with)
    : ssl_(ssl),
      context_(openssl().SSL_get_SSL_CTX(ssl)),
      verify_mode_(openssl().SSL_get_verify_mode(ssl)),
      verify_depth_(openssl().SSL_get_verify_depth(ssl)),
      verify_(openssl().SSL_get_verify_callback(ssl)),
      options_(openssl().SSL_get_options(ssl)),
      known_(ask(began_with)) {}

AskedSite::~AskedSite() {
    const auto& calls = openssl();
    if (calls.SSL_get_SSL_CTX(ssl_) != context_) calls.SSL_set_SSL_CTX(ssl_, context_);
    calls.SSL_set_verify(ssl_, verify_mode_, verify_);
    calls.SSL_set_verify_depth(ssl_, verify_depth_);
    calls.SSL_clear_options(ssl_, calls.SSL_get_options(ssl_) & ~options_);
    calls.SSL_set_options(ssl_, options_);
}

bool AskedSite::ask(const ContextHooks& began_with) {
    const ContextHooks* now = hooks_of(context_);
    // As OpenSSL picks the callback: of the SSL_CTX that the connection has, else of the one that it began
    // with.
    const ContextHooks& whose = now != nullptr && now->on_server_name != nullptr ? *now : began_with;
    if (whose.on_server_name == nullptr) return true;
    Name name;
    if (!read_name(ssl_, name)) return false;
    const Asked before = asked;
    // When OpenSSL calls it there is a session, a new one if no other; nginx relies on that.
    asked = {ssl_, name.data(), openssl().SSL_SESSION_new()};
    int alert = 0;
    const int answer = asked.session != nullptr
                           ? whose.on_server_name(ssl_, &alert, whose.server_name_argument)
                           : SSL_TLSEXT_ERR_ALERT_FATAL;
    openssl().SSL_SESSION_free(asked.session);
    asked = before;
    return answer != SSL_TLSEXT_ERR_ALERT_FATAL;
}

const char* asked_for(const SSL* ssl) {
    return asked.ssl == ssl && asked.name[0] != '\0' ? asked.name : nullptr;
}

SSL_SESSION* session_to_be(const SSL* ssl) { return asked.ssl == ssl ? asked.session : nullptr; }

bool same_name(SSL* ssl, const SSL_SESSION* session) {
    const char* made_under = openssl().SSL_SESSION_get0_hostname(session);
    if (made_under == nullptr) return true;
    Name name;
    return read_name(ssl, name) && strcasecmp(made_under, name.data()) == 0;
}

}  // namespace keyrail::hooks
