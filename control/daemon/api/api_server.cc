// SPDX-License-Identifier: Apache-2.0
// ApiServer: an accept loop, and a coroutine per connection; one request each, or one client that follows.
#include "control/daemon/api/api_server.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <list>
#include <optional>
#include <thread>
#include <type_traits>

#include "control/daemon/api/http_reply.h"
#include "control/daemon/api/http_request.h"
#include "control/protocol/unix_socket.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

/// What comes of an error inside the daemon, which is in the log.
template <typename T>
T in_place_of() {
    if constexpr (std::is_same_v<T, ApiReply>) return failure(500, "an error inside keyraild; see its log");
    return T();
}

/// Ready for clients; an error says why not.
Result<void> listen_on(asio::ip::tcp::acceptor& acceptor, const HostPort& address, std::string_view what) {
    using asio::ip::tcp;
    asio::error_code error;
    const tcp::endpoint at{asio::ip::make_address(address.address.text(), error), address.port};
    if (!error) acceptor.open(at.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(at, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail("{}: cannot listen on {}: {}", what, address.text(), error.message());
    return {};
}

}  // namespace

struct ApiServer::Impl : std::enable_shared_from_this<ApiServer::Impl> {
    struct Connection {
        explicit Connection(ApiStream::Socket socket) : stream(std::move(socket)) {}
        ApiStream stream;
        bool reading = true;
    };
    /// What the daemon's thread hands over.
    template <typename T>
    struct Answer {
        explicit Answer(asio::io_context& io) : arrived(io) {}
        asio::steady_timer arrived;
        std::optional<T> value;
    };

    Impl(asio::any_io_executor executor_in, Handler handler_in, Source source_in)
        : executor(std::move(executor_in)), handler(std::move(handler_in)), source(std::move(source_in)) {}

    asio::io_context io{1};  // of the HTTP thread; the first member: coroutines end before what they use
    std::list<Connection> connections;
    Followers followers{io, [this](uint64_t since, bool chassis) { return news(since, chassis); }};
    bool reads_only = false;

    asio::any_io_executor executor;
    Handler handler;
    Source source;
    fs::path socket;                   // empty: TCP
    std::unique_ptr<OperatorTls> tls;  // null: none
    std::thread thread;

    template <typename Acceptor>
    asio::awaitable<void> accept_all(Acceptor acceptor);
    asio::awaitable<void> serve(std::list<Connection>::iterator connection);
    asio::awaitable<bool> secure(Connection& connection) const;
    [[nodiscard]] Actor actor(Connection& connection) const;
    static asio::awaitable<bool> read(Connection& connection, HttpRequest& request);
    asio::awaitable<ApiReply> reply_to(const HttpRequest& request, Connection& connection);
    asio::awaitable<ApiReply> ask(const HttpRequest& request, Actor actor);
    asio::awaitable<std::optional<News>> news(uint64_t since, bool chassis);
    template <typename T>
    asio::awaitable<std::optional<T>> on_daemons_thread(asio::awaitable<T> work, std::string what);
    void make_room();
    void start();
};

/// The connection that has been sending its request for longest is closed first.
void ApiServer::Impl::make_room() {
    if (connections.size() < kMaxConnections) return;
    const auto slowest = std::ranges::find_if(
        connections, [](const Connection& one) { return one.reading && one.stream.is_open(); });
    if (slowest != connections.end()) slowest->stream.close();
}

template <typename Acceptor>
asio::awaitable<void> ApiServer::Impl::accept_all(Acceptor acceptor) {
    asio::steady_timer pause(io);
    for (;;) {
        asio::error_code error;
        auto accepted = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
        make_room();
        // Closed ones are still in the list for a moment: hence twice as many, and never more.
        if (error || connections.size() >= 2 * kMaxConnections) {
            pause.expires_after(std::chrono::milliseconds(50));  // the backlog keeps the clients
            co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
            continue;
        }
        connections.emplace_back(ApiStream::Socket(std::move(accepted)));
        asio::co_spawn(io, serve(std::prev(connections.end())), asio::detached);
    }
}

asio::awaitable<void> ApiServer::Impl::serve(std::list<Connection>::iterator connection) {
    ApiStream& stream = connection->stream;
    stream.limit(kReadTimeout);
    HttpRequest request(reads_only);
    // No co_await in a conditional: GCC 12 destroys what the other branch would have made.
    bool come = co_await secure(*connection);
    if (come) come = co_await read(*connection, request);
    if (come) {
        connection->reading = false;
        stream.no_limit();
        ApiReply reply = co_await reply_to(request, *connection);
        if (reply.follow) {
            co_await followers.serve(stream, std::move(*reply.follow));
        } else {
            stream.limit(kSendTimeout);
            asio::error_code error;
            const std::string text = http_text(reply, request.method() != "HEAD", reads_only);
            co_await stream.write(text, error);
            if (!error) co_await stream.end();
        }
    }
    stream.no_limit();
    stream.close();
    // The deadline's handler may be under way already, and it uses the connection.
    asio::post(io, [this, connection] { connections.erase(connection); });
}

/// False: it speaks no TLS, or another chassis' operator is at its end.
asio::awaitable<bool> ApiServer::Impl::secure(Connection& connection) const {
    if (!tls) co_return true;
    asio::error_code error;
    const auto context = tls->current();
    co_await connection.stream.secure(context.get(), error);
    if (error) spdlog::debug("api: no TLS: {}", error.message());
    co_return !error;
}

/// False: it has gone, or was too slow.
asio::awaitable<bool> ApiServer::Impl::read(Connection& connection, HttpRequest& request) {
    std::array<char, 4096> buffer{};
    for (;;) {
        asio::error_code error;
        const size_t got = co_await connection.stream.read_some(asio::buffer(buffer), error);
        if (error) co_return false;
        if (request.take({buffer.data(), got}) != HttpRequest::State::more) co_return true;
        if (request.wants_continue())
            co_await connection.stream.write("HTTP/1.1 100 Continue\r\n\r\n", error);
    }
}

asio::awaitable<ApiReply> ApiServer::Impl::reply_to(const HttpRequest& request, Connection& connection) {
    if (request.status() != 0) co_return failure(request.status(), request.why());
    if (const std::string why = request.of_another_site(); !why.empty())
        co_return failure(403, why + "; nothing was changed");
    if (!tls && !reads_only && request.names_another_host())
        co_return failure(
            403,
            "a browser came here by a name that is not known to be ours; write localhost, or an "
            "address, in its place");
    ApiReply reply = co_await ask(request, actor(connection));
    if (reply.follow && followers.full())
        co_return failure(503, fmt::format("{} clients follow already; close one", Followers::kMax));
    co_return reply;
}

/// Over TCP without TLS nobody is known.
Actor ApiServer::Impl::actor(Connection& connection) const {
    if (SSL* const session = connection.stream.tls()) return OperatorTls::actor_of(session);
    if (socket.empty()) return {};
    auto known = actor_of(connection.stream.handle());
    if (!known) spdlog::warn("api: {}", known.error().message);
    return known.value_or(Actor{});
}

/// The daemon's thread does it, and wakes us when it is done; nullopt: not in time.
template <typename T>
asio::awaitable<std::optional<T>> ApiServer::Impl::on_daemons_thread(asio::awaitable<T> work,
                                                                     std::string what) {
    const auto answer = std::make_shared<Answer<T>>(io);
    answer->arrived.expires_after(kTimeout);
    asio::co_spawn(executor, std::move(work),
                   [weak = weak_from_this(), asked = std::weak_ptr(answer), what = std::move(what)](
                       std::exception_ptr thrown, T value) {
                       if (thrown) {
                           value = in_place_of<T>();
                           try {
                               std::rethrow_exception(thrown);
                           } catch (const std::exception& error) {
                               spdlog::error("api: {}: {}", what, error.what());
                           }
                       }
                       const auto self = weak.lock();
                       const auto waits = asked.lock();
                       if (!self || !waits) return;
                       asio::post(self->io, [waits, value = std::move(value)]() mutable {
                           waits->value = std::move(value);
                           waits->arrived.cancel();
                       });
                   });
    asio::error_code ignored;
    if (!answer->value)
        co_await answer->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return std::move(answer->value);
}

asio::awaitable<ApiReply> ApiServer::Impl::ask(const HttpRequest& request, Actor actor) {
    const std::string method = request.method() == "HEAD" ? "GET" : request.method();
    ApiRequest asked{
        method,           request.path(),    request.query(),     request.body(), request.if_match(),
        std::move(actor), request.follows(), request.last_event()};
    auto reply = co_await on_daemons_thread(handler(std::move(asked)), method + " " + request.path());
    co_return reply ? std::move(*reply)
                    : failure(504, "keyraild did not come to an answer in time; see its log");
}

asio::awaitable<std::optional<News>> ApiServer::Impl::news(uint64_t since, bool chassis) {
    auto told = co_await on_daemons_thread(source(since, chassis), "what there is to tell");
    co_return told;
}

void ApiServer::Impl::start() {
    thread = std::thread([this] { io.run(); });
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, fs::path socket,
                                                   Handler handler, Source source) {
    using asio::local::stream_protocol;
    if (try_unix_socket(socket) == 0)
        return fail("{}: another keyraild listens there already; stop it first", socket.string());
    std::error_code ignored;
    fs::remove(socket, ignored);
    const auto impl = std::make_shared<Impl>(std::move(executor), std::move(handler), std::move(source));
    stream_protocol::acceptor acceptor(impl->io);
    asio::error_code error;
    const mode_t before = ::umask(0177);
    try {
        acceptor.open();
        acceptor.bind(stream_protocol::endpoint(socket.string()), error);
    } catch (const std::exception&) {  // the path is too long
        error = asio::error::name_too_long;
    }
    ::umask(before);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (!error)
        if (auto opened = open_to_group(socket.parent_path(), socket); !opened)
            spdlog::warn("api: root alone may ask: {}", opened.error().message);
    if (error)
        return fail("cannot listen on {}: {}; is its path too long, or its folder not writable?",
                    socket.string(), error.message());
    impl->socket = std::move(socket);
    asio::co_spawn(impl->io, impl->accept_all(std::move(acceptor)), asio::detached);
    impl->start();
    return std::unique_ptr<ApiServer>(new ApiServer(impl));
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, const HostPort& address,
                                                   std::unique_ptr<OperatorTls> tls, Handler handler,
                                                   Source source) {
    const auto impl = std::make_shared<Impl>(std::move(executor), std::move(handler), std::move(source));
    asio::ip::tcp::acceptor acceptor(impl->io);
    if (auto listens = listen_on(acceptor, address, "https"); !listens)
        return tl::make_unexpected(listens.error());
    impl->tls = std::move(tls);
    asio::co_spawn(impl->io, impl->accept_all(std::move(acceptor)), asio::detached);
    impl->start();
    return std::unique_ptr<ApiServer>(new ApiServer(impl));
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, const HostPort& address,
                                                   Handler handler) {
    const auto impl = std::make_shared<Impl>(std::move(executor), std::move(handler), Source());
    asio::ip::tcp::acceptor acceptor(impl->io);
    if (auto listens = listen_on(acceptor, address, "metrics"); !listens)
        return tl::make_unexpected(listens.error());
    impl->reads_only = true;
    asio::co_spawn(impl->io, impl->accept_all(std::move(acceptor)), asio::detached);
    impl->start();
    return std::unique_ptr<ApiServer>(new ApiServer(impl));
}

ApiServer::ApiServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

ApiServer::~ApiServer() {
    impl_->io.stop();
    if (impl_->thread.joinable()) impl_->thread.join();
    std::error_code ignored;
    if (!impl_->socket.empty()) fs::remove(impl_->socket, ignored);
}

}  // namespace keyrail
