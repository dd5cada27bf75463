// SPDX-License-Identifier: Apache-2.0
// Listener: the accept loop of keyraild and of keyrail-agent.
#include "control/protocol/listener.h"

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

namespace keyrail {

using asio::ip::tcp;

struct Listener::Impl : std::enable_shared_from_this<Listener::Impl> {
    Impl(const asio::any_io_executor& executor, TlsContext tls_in)
        : acceptor(executor), tls(std::move(tls_in)) {}

    tcp::acceptor acceptor;
    TlsContext tls;
    Serve serve;
    Refused refused;
    Strangers strangers = Strangers::refused;
    size_t handshakes = 0;  // under way

    asio::awaitable<void> accept_all(std::shared_ptr<Impl> self);
    asio::awaitable<void> run_one(std::shared_ptr<Impl> self, tcp::socket socket);
    void start_one(tcp::socket socket);
};

asio::awaitable<void> Listener::Impl::run_one([[maybe_unused]] std::shared_ptr<Impl> self,
                                              tcp::socket socket) {
    handshakes++;
    const auto channel = co_await accept_channel(std::move(socket), tls, strangers);
    handshakes--;
    if (channel)
        co_await serve(*channel);
    else
        refused(channel.error());
}

void Listener::Impl::start_one(tcp::socket socket) {
    asio::co_spawn(
        acceptor.get_executor(), run_one(shared_from_this(), std::move(socket)),
        [self = shared_from_this()](std::exception_ptr thrown) {
            if (!thrown) return;
            try {
                std::rethrow_exception(thrown);
            } catch (const std::exception& error) {
                self->refused(Error{fmt::format("a session ended by an error of ours: {}", error.what())});
            }
        });
}

asio::awaitable<void> Listener::Impl::accept_all([[maybe_unused]] std::shared_ptr<Impl> self) {
    asio::steady_timer pause(acceptor.get_executor());
    while (acceptor.is_open()) {
        asio::error_code error;
        tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
        if (!acceptor.is_open()) co_return;
        if (error) {  // no descriptors left and the like: wait, the backlog keeps the peers
            refused(Error{fmt::format("cannot accept connections: {}", error.message())});
            pause.expires_after(std::chrono::milliseconds(200));
            co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
            continue;
        }
        if (handshakes >= kMaxHandshakes) {
            refused(Error{"too many handshakes under way: the newest connection was closed"});
            continue;
        }
        start_one(std::move(socket));
    }
}

Listener::Listener(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Listener::~Listener() { close(); }

uint16_t Listener::port() const {
    asio::error_code ignored;
    return impl_->acceptor.local_endpoint(ignored).port();
}

void Listener::close() {
    asio::error_code ignored;
    impl_->acceptor.close(ignored);
}

Result<std::shared_ptr<Listener>> Listener::open(asio::any_io_executor executor, TlsContext tls,
                                                 const HostPort& at, Serve serve, Refused refused,
                                                 Strangers strangers) {
    const auto impl = std::make_shared<Impl>(executor, std::move(tls));
    impl->serve = std::move(serve);
    impl->refused = std::move(refused);
    impl->strangers = strangers;
    asio::error_code error;
    const tcp::endpoint endpoint{asio::ip::make_address(at.address.text(), error), at.port};
    if (!error) impl->acceptor.open(endpoint.protocol(), error);
    if (!error) impl->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) impl->acceptor.bind(endpoint, error);
    if (!error) impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail("cannot listen on {}: {}", at.text(), error.message());
    asio::co_spawn(executor, impl->accept_all(impl), asio::detached);
    return std::make_shared<Listener>(impl);
}

}  // namespace keyrail
