// SPDX-License-Identifier: Apache-2.0
// OpenSSL works on the socket itself, which does not block; where it wants more, we wait for that.
#include "control/daemon/checks/probe.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "control/protocol/tls_context.h"
#include "control/protocol/words.h"

namespace keyrail {

using asio::ip::tcp;
using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;
using Kind = CheckAnswer::Kind;

namespace {

using SslPtr = std::unique_ptr<SSL, FreedBy<SSL_free>>;
constexpr microseconds kTicketWait{50'000};  // for a ticket after the handshake of a check without a request
constexpr size_t kLongestStatusLine = 512;

/// One check under way. Handlers may outlive run_probe(): they share it.
struct Attempt : std::enable_shared_from_this<Attempt> {
    Attempt(const asio::any_io_executor& executor, Probe probe_in)
        : probe(std::move(probe_in)), socket(executor), deadline(executor), patience(executor) {}

    Probe probe;
    tcp::socket socket;
    asio::steady_timer deadline, patience;
    SslPtr ssl;
    TlsSessionPtr fresh;  // the latest that the server gave
    Clock::time_point began = Clock::now();
    bool over = false, starved = false;  // its time is
    bool connected = false;              // or refused: something there lives
    const char* stage = "TCP connection";

    asio::awaitable<CheckAnswer> run(TlsSessionPtr session);
    asio::awaitable<std::optional<CheckAnswer>> connect();
    asio::awaitable<std::optional<CheckAnswer>> shake_hands(TlsSessionPtr session);
    asio::awaitable<CheckAnswer> ask();
    asio::awaitable<void> await_ticket();
    asio::awaitable<bool> wait_for(int result);
    [[nodiscard]] std::optional<CheckAnswer> judge_certificate() const;
    [[nodiscard]] CheckAnswer bad(const char* why, std::string text) const {
        return {.kind = Kind::bad, .why = why, .text = std::move(text), .alive = connected};
    }
    [[nodiscard]] CheckAnswer late() const;
    [[nodiscard]] CheckAnswer tls_failure() const;
    void close();
};

/// Says nothing of the blade: there is no way to it, or we may not, or cannot, use it.
bool is_ours(int error) {
    constexpr std::array kOurs{EINVAL, ENETUNREACH, EPERM,   EACCES, EADDRNOTAVAIL, EAFNOSUPPORT,
                               EMFILE, ENFILE,      ENOBUFS, ENOMEM, ENODEV};
    return std::ranges::find(kOurs, error) != kOurs.end();
}

CheckAnswer ours(std::string text) { return {.kind = Kind::ours, .text = std::move(text)}; }

int attempt_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

/// The reference is ours from now on.
int take_session(SSL* ssl, SSL_SESSION* session) {
    auto* attempt = static_cast<Attempt*>(SSL_get_ex_data(ssl, attempt_index()));
    if (attempt == nullptr) return 0;
    attempt->fresh.reset(session);
    return 1;
}

std::optional<std::chrono::system_clock::time_point> end_of(const X509* certificate) {
    std::tm tm{};
    if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return std::nullopt;
    return std::chrono::system_clock::from_time_t(timegm(&tm));
}

std::string pin_of(const X509* certificate) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (size <= 0) return "";
    std::array<unsigned char, 32> hash{};
    EVP_Digest(der, static_cast<size_t>(size), hash.data(), nullptr, EVP_sha256(), nullptr);
    OPENSSL_free(der);
    return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

/// "HTTP/1.1 200 OK": 200. nullopt: it is no status line (RFC 9112 section 4).
std::optional<uint16_t> status_of(std::string_view line) {
    uint16_t status = 0;
    if (!line.starts_with("HTTP/1.") || line.size() < 12 || line[8] != ' ') return std::nullopt;
    const auto read = std::from_chars(line.data() + 9, line.data() + 12, status);
    if (read.ec != std::errc() || read.ptr != line.data() + 12) return std::nullopt;
    return status;
}

std::string printable(std::string_view text) {
    std::string out(text.substr(0, 60));
    std::ranges::replace_if(out, [](unsigned char c) { return c < ' ' || c >= 0x7f; }, '.');
    return out;
}

std::string request_for(const Probe& probe) {
    const std::string address =
        probe.to.address.is_v6() ? fmt::format("[{}]", probe.to.address.text()) : probe.to.address.text();
    const std::string& host = !probe.check.host.empty() ? probe.check.host
                              : !probe.sni.empty()      ? probe.sni
                                                        : address;
    return fmt::format(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: keyrail-check\r\nAccept: */*\r\nConnection: "
        "close\r\n\r\n",
        probe.check.path, host);
}

}  // namespace

CheckAnswer Attempt::late() const {
    if (starved) return ours("keyraild had no time for it");
    return bad("timeout", fmt::format("no answer within {} ({})", duration_text(probe.check.timeout), stage));
}

/// False: the time is over, or the connection is.
asio::awaitable<bool> Attempt::wait_for(int result) {
    asio::error_code error;
    const bool reads = SSL_get_error(ssl.get(), result) == SSL_ERROR_WANT_READ;
    co_await socket.async_wait(reads ? tcp::socket::wait_read : tcp::socket::wait_write,
                               asio::redirect_error(asio::use_awaitable, error));
    co_return !error && !over;
}

asio::awaitable<std::optional<CheckAnswer>> Attempt::connect() {
    asio::error_code error;
    const tcp::endpoint to{asio::ip::make_address(probe.to.address.text(), error), probe.to.port};
    if (!error) socket.open(to.protocol(), error);
    if (error) co_return ours(error.message());
    const int fd = socket.native_handle();
    if (probe.mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &probe.mark, sizeof probe.mark) != 0)
        co_return ours(
            "keyraild may not mark packets; give it CAP_NET_RAW (Linux 5.17 and later) or CAP_NET_ADMIN, or "
            "write via = \"backplane\"");
    // No TIME_WAIT: of ports to one VIP there are 28 thousand, for the checks of all blades.
    socket.set_option(asio::socket_base::linger(true, 0), error);
    socket.set_option(tcp::no_delay(true), error);
    co_await socket.async_connect(to, asio::redirect_error(asio::use_awaitable, error));
    if (over) co_return late();
    if (!error) {
        connected = true;
        socket.non_blocking(true, error);
        co_return std::nullopt;
    }
    if (is_ours(error.value())) co_return ours(error.message());
    connected = error == asio::error::connection_refused;
    co_return bad(connected ? "refused" : "connect", fmt::format("TCP: {}", error.message()));
}

CheckAnswer Attempt::tls_failure() const {
    const long verified = SSL_get_verify_result(ssl.get());
    if (probe.check.verify == CheckVerify::ca && verified != X509_V_OK) {
        ERR_clear_error();
        return bad("certificate", fmt::format("certificate: {}", X509_verify_cert_error_string(verified)));
    }
    if (ERR_peek_error() == 0) return bad("closed", fmt::format("it ended the connection ({})", stage));
    return bad("tls", fmt::format("TLS: {}", openssl_reason()));
}

std::optional<CheckAnswer> Attempt::judge_certificate() const {
    X509* const certificate = SSL_get0_peer_certificate(ssl.get());
    if (probe.check.verify == CheckVerify::none) return std::nullopt;
    if (certificate == nullptr) return bad("certificate", "certificate: it showed none");
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        return bad("certificate", "certificate: certificate has expired");
    if (probe.check.verify == CheckVerify::pin &&
        std::ranges::find(probe.check.pins, pin_of(certificate)) == probe.check.pins.end())
        return bad("certificate", "certificate: its key is none of the pinned ones");
    return std::nullopt;
}

asio::awaitable<std::optional<CheckAnswer>> Attempt::shake_hands(TlsSessionPtr session) {
    stage = "TLS handshake";
    ssl.reset(SSL_new(probe.tls.get()));
    if (!ssl || SSL_set_fd(ssl.get(), socket.native_handle()) != 1) co_return ours(openssl_reason());
    SSL_set_ex_data(ssl.get(), attempt_index(), this);
    SSL_set_connect_state(ssl.get());
    if (!probe.sni.empty()) SSL_set_tlsext_host_name(ssl.get(), probe.sni.c_str());
    if (!probe.sni.empty() && probe.check.verify == CheckVerify::ca)
        SSL_set1_host(ssl.get(), probe.sni.c_str());
    if (session) SSL_set_session(ssl.get(), session.get());
    while (true) {
        ERR_clear_error();
        errno = 0;
        const int result = SSL_do_handshake(ssl.get());
        if (result == 1) break;
        const int error = SSL_get_error(ssl.get(), result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) co_return tls_failure();
        const bool more = co_await wait_for(result);
        if (!more) co_return late();
    }
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl.get(), &chosen, &size);
    const std::string protocol(reinterpret_cast<const char*>(chosen), size);
    if (!probe.check.alpn.empty() && protocol != probe.check.alpn)
        co_return bad("alpn", fmt::format("it does not agree to '{}'", probe.check.alpn));
    co_return judge_certificate();
}

/// Sends the request, and reads as far as the status.
asio::awaitable<CheckAnswer> Attempt::ask() {
    stage = "HTTP response";
    const std::string request = request_for(probe);
    size_t sent = 0;
    std::string got;
    std::array<char, 1024> buffer;
    while (got.find('\n') == std::string::npos && got.size() < kLongestStatusLine) {
        ERR_clear_error();
        size_t done = 0;
        const bool writes = sent < request.size();
        const int result = writes
                               ? SSL_write_ex(ssl.get(), request.data() + sent, request.size() - sent, &done)
                               : SSL_read_ex(ssl.get(), buffer.data(), buffer.size(), &done);
        if (result == 1) {
            writes ? static_cast<void>(sent += done) : static_cast<void>(got.append(buffer.data(), done));
            continue;
        }
        const int error = SSL_get_error(ssl.get(), result);
        if (error == SSL_ERROR_ZERO_RETURN)
            co_return bad("closed", "it ended the connection before an answer");
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) co_return tls_failure();
        const bool more = co_await wait_for(result);
        if (!more) co_return late();
    }
    const std::string line = got.substr(0, got.find_first_of("\r\n"));
    const auto status = status_of(line);
    if (!status) co_return bad("status", fmt::format("no HTTP response: '{}'", printable(line)));
    const bool good = std::ranges::any_of(probe.check.expect, [&](const StatusRange& range) {
        return *status >= range.from && *status <= range.to;
    });
    CheckAnswer answer = good ? CheckAnswer{.kind = Kind::good, .text = printable(line), .alive = true}
                              : bad("status", printable(line));
    answer.status = *status;
    co_return answer;
}

/// TLS 1.3 gives its tickets when the handshake is over. Who gives none is not waited for long.
asio::awaitable<void> Attempt::await_ticket() {
    patience.expires_after(kTicketWait);
    patience.async_wait([weak = weak_from_this()](const asio::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        self->over = true;
        asio::error_code ignored;
        self->socket.cancel(ignored);
    });
    std::array<char, 16> nothing;
    while (!fresh) {
        ERR_clear_error();
        size_t done = 0;
        const int result = SSL_read_ex(ssl.get(), nothing.data(), nothing.size(), &done);
        if (fresh || result == 1 || SSL_get_error(ssl.get(), result) != SSL_ERROR_WANT_READ) break;
        const bool more = co_await wait_for(result);
        if (!more) break;
    }
    patience.cancel();
    over = false;
}

asio::awaitable<CheckAnswer> Attempt::run(TlsSessionPtr session) {
    auto failed = co_await connect();
    if (failed) co_return std::move(*failed);
    if (probe.check.type == CheckType::tcp)
        co_return CheckAnswer{.kind = Kind::good, .text = "connected", .alive = true};
    const bool offered = session != nullptr;
    failed = co_await shake_hands(std::move(session));
    CheckAnswer answer;
    if (failed)
        answer = std::move(*failed);
    else if (probe.check.type == CheckType::https)
        answer = co_await ask();
    else
        answer = {.kind = Kind::good, .text = SSL_get_version(ssl.get()), .alive = true};
    if (!failed && SSL_is_init_finished(ssl.get()) != 0) {
        answer.offered = offered;
        answer.resumed = SSL_session_reused(ssl.get()) == 1;
        answer.certificate_ends = end_of(SSL_get0_peer_certificate(ssl.get()));
    }
    co_return answer;
}

/// An alert first: a session whose connection breaks off is not resumed (RFC 5246 section 7.2.1, OpenSSL).
void Attempt::close() {
    if (ssl) {
        if (SSL_is_init_finished(ssl.get()) != 0 && !over) SSL_shutdown(ssl.get());
        SSL_set_shutdown(ssl.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        ERR_clear_error();
        ssl.reset();
    }
    asio::error_code ignored;
    socket.close(ignored);
}

Result<TlsClientPtr> make_tls_client(const CheckConfig& check) {
    ERR_clear_error();
    const TlsClientPtr context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    if (!context) return fail("TLS: {}", openssl_reason());
    // A blade must not choose what costs this thread much: no finite-field key exchange.
    if (SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES") != 1)
        return fail("TLS: {}", openssl_reason());
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context.get(), take_session);
    SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (check.verify == CheckVerify::ca) {
        const bool loaded = check.ca.empty() ? SSL_CTX_set_default_verify_paths(context.get()) == 1
                                             : SSL_CTX_load_verify_file(context.get(), check.ca.c_str()) == 1;
        if (!loaded)
            return fail("{}: {}; write a PEM file of certificates as 'ca'", check.ca.string(),
                        openssl_reason());
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    }
    const std::string wanted = !check.alpn.empty()              ? check.alpn
                               : check.type == CheckType::https ? "http/1.1"
                                                                : "";
    if (!wanted.empty()) {
        std::string list(1, static_cast<char>(wanted.size()));
        list += wanted;
        SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(list.data()),
                                static_cast<unsigned>(list.size()));
    }
    return context;
}

asio::awaitable<ProbeResult> run_probe(asio::any_io_executor executor, Probe probe, TlsSessionPtr session) {
    const auto attempt = std::make_shared<Attempt>(executor, std::move(probe));
    const auto until = attempt->began + attempt->probe.check.timeout;
    attempt->deadline.expires_at(until);
    attempt->deadline.async_wait([weak = std::weak_ptr(attempt), until](const asio::error_code& error) {
        const auto late = weak.lock();
        if (error || !late) return;
        late->over = true;
        // Who comes that late to their own clock may have the answer in the socket, unread.
        late->starved = Clock::now() - until >
                        std::max<microseconds>(late->probe.check.timeout / 4, microseconds(20'000));
        asio::error_code ignored;
        late->socket.cancel(ignored);
    });
    ProbeResult result;
    result.answer = co_await attempt->run(std::move(session));
    result.answer.took = std::chrono::duration_cast<microseconds>(Clock::now() - attempt->began);
    attempt->deadline.cancel();
    if (attempt->connected && !attempt->over) {
        asio::error_code error;
        const auto local = attempt->socket.local_endpoint(error);
        if (!error)
            if (const auto address = parse_ip(local.address().to_string()); address && !address->is_any())
                result.from = *address;
        if (result.answer.kind == Kind::good && attempt->probe.check.type == CheckType::tls &&
            attempt->probe.check.resume && !result.answer.offered)
            co_await attempt->await_ticket();
    }
    result.session = std::move(attempt->fresh);
    attempt->close();
    co_return result;
}

}  // namespace keyrail
