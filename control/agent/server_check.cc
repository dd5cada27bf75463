// SPDX-License-Identifier: Apache-2.0
#include "control/agent/server_check.h"

#include <openssl/ssl.h>

#include <array>
#include <asio/buffer.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <cstring>
#include <string>

namespace keyrail {

using asio::ip::tcp;

namespace {

/// The bytes of a ClientHello that offers no session.
Result<std::string> make_hello(int version) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                    &SSL_CTX_free);
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(context ? SSL_new(context.get()) : nullptr,
                                                        &SSL_free);
    if (!ssl) return fail("OpenSSL makes no connection");
    SSL_set_min_proto_version(ssl.get(), TLS1_2_VERSION);
    SSL_set_max_proto_version(ssl.get(), version);
    SSL_set_options(ssl.get(), SSL_OP_NO_TICKET);
    SSL_set_security_level(ssl.get(), 0);  // whatever the server has
    BIO* out = BIO_new(BIO_s_mem());
    BIO* in = BIO_new(BIO_s_mem());
    if (out == nullptr || in == nullptr) return fail("out of memory");
    SSL_set_bio(ssl.get(), in, out);
    SSL_set_connect_state(ssl.get());
    (void)SSL_do_handshake(ssl.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    if (size <= 0) return fail("OpenSSL writes no ClientHello");
    return std::string(bytes, static_cast<size_t>(size));
}

struct Hellos {
    std::string tls12, tls13;
};

}  // namespace

FirstWords read_first_words(std::string_view bytes) {
    // RFC 5246 sections 6.2.1, 7.2 and 7.4.1.3
    constexpr size_t kRecordHeader = 5, kSessionIdAt = kRecordHeader + 4 + 2 + 32;
    constexpr char kAlert = 21, kHandshake = 22, kServerHello = 2;
    if (bytes.empty()) return {};
    if (bytes[0] == kAlert) return {.enough = true, .refused = true};
    if (bytes[0] != kHandshake) return {.enough = true};
    if (bytes.size() <= kSessionIdAt) return {};
    if (bytes[kRecordHeader] != kServerHello) return {.enough = true};
    const auto size = static_cast<uint8_t>(bytes[kSessionIdAt]);
    if (bytes.size() < kSessionIdAt + 1 + size) return {};
    return {.enough = true, .hello = true, .session_id = bytes.substr(kSessionIdAt + 1, size)};
}

struct ServerCheck::Impl : std::enable_shared_from_this<ServerCheck::Impl> {
    Impl(asio::any_io_executor executor_in, IsOurs is_ours_in, std::function<void()> changed_in,
         Hellos hellos_in)
        : executor(std::move(executor_in)),
          is_ours(std::move(is_ours_in)),
          changed(std::move(changed_in)),
          hellos(std::move(hellos_in)) {}

    /// One server. Its callbacks know it by a weak pointer: it may be forgotten meanwhile.
    struct Server : std::enable_shared_from_this<Server> {
        Server(const asio::any_io_executor& executor, HostPort where)
            : at(where), socket(executor), timer(executor) {}
        HostPort at;
        tcp::socket socket;
        asio::steady_timer timer;
        bool modern = false;  // it wants TLS 1.3
        bool failed = false;  // the last time
        std::array<char, 512> buffer{};
        size_t got = 0;
    };
    using ServerPtr = std::shared_ptr<Server>;

    asio::any_io_executor executor;
    IsOurs is_ours;
    std::function<void()> changed;
    Hellos hellos;
    std::map<HostPort, ServerPtr> servers;
    Verdicts verdicts;
    uint64_t connections = 0;

    void check(const ServerPtr& server);
    void connected(const ServerPtr& server);
    void read(const ServerPtr& server);
    void done(const ServerPtr& server, bool answered);
    void judge(const ServerPtr& server, const FirstWords& words);

    /// A handler for as long as both live: `use(self, server)`.
    template <typename Use>
    auto on(const ServerPtr& server, Use use) {
        return [weak = weak_from_this(), one = std::weak_ptr(server), use](const asio::error_code& error,
                                                                           auto... more) {
            const auto self = weak.lock();
            const auto still = one.lock();
            if (self && still && error != asio::error::operation_aborted) use(*self, still, error, more...);
        };
    }
};

void ServerCheck::Impl::check(const ServerPtr& server) {
    server->got = 0;
    server->timer.expires_after(kPatience);
    server->timer.async_wait(on(
        server, [](Impl& self, const ServerPtr& late, const asio::error_code&) { self.done(late, false); }));
    asio::error_code error;
    const tcp::endpoint to{asio::ip::make_address(server->at.address.text(), error), server->at.port};
    server->socket = tcp::socket(executor);
    server->socket.async_connect(
        to, on(server, [](Impl& self, const ServerPtr& one, const asio::error_code& failed) {
            if (failed) return self.done(one, true);  // its kernel says that nobody listens
            self.connected(one);
        }));
}

void ServerCheck::Impl::connected(const ServerPtr& server) {
    connections++;
    const std::string& hello = server->modern ? hellos.tls13 : hellos.tls12;
    asio::async_write(server->socket, asio::buffer(hello),
                      on(server, [](Impl& self, const ServerPtr& one, const asio::error_code& error, size_t) {
                          if (error) return self.done(one, true);  // reset: somebody did that
                          self.read(one);
                      }));
}

void ServerCheck::Impl::read(const ServerPtr& server) {
    server->socket.async_read_some(
        asio::buffer(server->buffer.data() + server->got, server->buffer.size() - server->got),
        on(server, [](Impl& self, const ServerPtr& one, const asio::error_code& error, size_t size) {
            if (error) return self.done(one, true);
            one->got += size;
            const FirstWords words = read_first_words({one->buffer.data(), one->got});
            if (!words.enough && one->got < one->buffer.size()) return self.read(one);
            self.judge(one, words);
            self.done(one, true);
        }));
}

void ServerCheck::Impl::judge(const ServerPtr& server, const FirstWords& words) {
    if (words.refused) server->modern = !server->modern;
    if (!words.hello || server->modern) return;
    SessionName name{};
    const bool sized = words.session_id.size() == name.size();
    if (sized) std::memcpy(name.data(), words.session_id.data(), name.size());
    Verdict& verdict = verdicts[server->at];
    const Hooks hooks = sized && is_ours(name) ? Hooks::present : Hooks::absent;
    if (std::exchange(verdict.hooks, hooks) != hooks) changed();
}

/// Answered in any way, or not at all.
void ServerCheck::Impl::done(const ServerPtr& server, bool answered) {
    asio::error_code ignored;
    server->socket.set_option(asio::socket_base::linger(true, 0), ignored);  // no TIME_WAIT for this
    server->socket.close(ignored);
    const bool hangs = !answered && server->failed;
    server->failed = !answered;
    Verdict& verdict = verdicts[server->at];
    if (answered || hangs)
        if (std::exchange(verdict.hangs, hangs) != hangs) changed();
    server->timer.expires_after(answered ? kInterval : kAgain);
    server->timer.async_wait(
        on(server, [](Impl& self, const ServerPtr& one, const asio::error_code&) { self.check(one); }));
}

Result<std::unique_ptr<ServerCheck>> ServerCheck::create(asio::any_io_executor executor, IsOurs is_ours,
                                                         std::function<void()> changed) {
    auto tls12 = make_hello(TLS1_2_VERSION), tls13 = make_hello(TLS1_3_VERSION);
    if (!tls12) return tl::make_unexpected(tls12.error());
    if (!tls13) return tl::make_unexpected(tls13.error());
    return std::unique_ptr<ServerCheck>(
        new ServerCheck(std::make_shared<Impl>(std::move(executor), std::move(is_ours), std::move(changed),
                                               Hellos{std::move(*tls12), std::move(*tls13)})));
}

ServerCheck::ServerCheck(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServerCheck::~ServerCheck() = default;

void ServerCheck::watch(const std::set<HostPort>& servers) {
    const auto missing = [&](const auto& entry) { return !servers.contains(entry.first); };
    std::erase_if(impl_->servers, missing);
    std::erase_if(impl_->verdicts, missing);
    for (const HostPort& at : servers) {
        const auto [server, fresh] = impl_->servers.try_emplace(at);
        if (!fresh) continue;
        server->second = std::make_shared<Impl::Server>(impl_->executor, at);
        impl_->check(server->second);
    }
}

const ServerCheck::Verdicts& ServerCheck::verdicts() const { return impl_->verdicts; }
uint64_t ServerCheck::connections() const { return impl_->connections; }

}  // namespace keyrail
