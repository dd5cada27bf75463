// SPDX-License-Identifier: Apache-2.0
// ApiServer: an accept loop, and a coroutine per connection; one request each.
#include "control/daemon/api/api_server.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <cstring>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "control/daemon/api/error.h"
#include "control/daemon/api/http_request.h"
#include "control/protocol/unix_socket.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

using Socket = asio::generic::stream_protocol::socket;

constexpr std::chrono::seconds kDrainTimeout{1};
constexpr size_t kMaxDrained = size_t{1} << 20;

ApiReply failure(int status, const std::string& text) {
    return {status, error_json(status, text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

std::string_view phrase_of(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 409:
            return "Conflict";
        case 411:
            return "Length Required";
        case 412:
            return "Precondition Failed";
        case 413:
            return "Content Too Large";
        case 422:
            return "Unprocessable Content";
        case 431:
            return "Request Header Fields Too Large";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return status < 500 ? "Refused" : "Internal Server Error";
    }
}

std::string text_of(const ApiReply& reply, bool with_body, bool reads_only) {
    const std::string body = reply.body.ends_with('\n') ? reply.body : reply.body + '\n';
    const std::string allow =
        reply.status == 405 ? fmt::format("Allow: {}\r\n", reads_only ? "GET, HEAD" : "GET, HEAD, POST") : "";
    const std::string etag = reply.etag.empty() ? "" : fmt::format("ETag: \"{}\"\r\n", reply.etag);
    return fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}{}Connection: close\r\n\r\n{}",
        reply.status, phrase_of(reply.status), reply.type, body.size(), allow, etag, with_body ? body : "");
}

}  // namespace

struct ApiServer::Impl : std::enable_shared_from_this<ApiServer::Impl> {
    struct Connection {
        explicit Connection(Socket socket_in)
            : socket(std::move(socket_in)), deadline(socket.get_executor()) {}
        Socket socket;
        asio::steady_timer deadline;
        bool reading = true;

        /// From now on this long; then it is closed.
        void limit(std::chrono::steady_clock::duration time) {
            deadline.expires_after(time);
            deadline.async_wait([this](const asio::error_code& error) {
                if (!error) close();
            });
        }
        void close() {
            asio::error_code ignored;
            socket.close(ignored);
        }
    };
    /// What the daemon's thread hands over.
    struct Answer {
        explicit Answer(asio::io_context& io) : arrived(io) {}
        asio::steady_timer arrived;
        std::optional<ApiReply> reply;
    };

    asio::io_context io{1};  // of the HTTP thread; the first member: coroutines end before what they use
    std::list<Connection> connections;
    bool reads_only = false;

    asio::any_io_executor executor;
    Handler handler;
    fs::path socket;  // empty: TCP
    std::thread thread;

    template <typename Acceptor>
    asio::awaitable<void> accept_all(Acceptor acceptor);
    asio::awaitable<void> serve(std::list<Connection>::iterator connection);
    [[nodiscard]] Actor actor(Connection& connection) const;
    static asio::awaitable<bool> read(Connection& connection, HttpRequest& request);
    static asio::awaitable<void> send(Connection& connection, const std::string& text);
    asio::awaitable<ApiReply> ask(const HttpRequest& request, Actor actor);
    void make_room();
    void start();
};

/// The connection that has been sending its request for longest is closed first.
void ApiServer::Impl::make_room() {
    if (connections.size() < kMaxConnections) return;
    const auto slowest = std::ranges::find_if(
        connections, [](const Connection& one) { return one.reading && one.socket.is_open(); });
    if (slowest != connections.end()) slowest->close();
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
        connections.emplace_back(Socket(std::move(accepted)));
        asio::co_spawn(io, serve(std::prev(connections.end())), asio::detached);
    }
}

asio::awaitable<void> ApiServer::Impl::serve(std::list<Connection>::iterator connection) {
    connection->limit(kReadTimeout);
    HttpRequest request(reads_only);
    if (co_await read(*connection, request)) {
        connection->reading = false;
        connection->deadline.cancel();
        // No co_await in a conditional: GCC 12 destroys what the other branch would have made.
        ApiReply reply;
        if (request.status() != 0)
            reply = failure(request.status(), request.why());
        else
            reply = co_await ask(request, actor(*connection));
        connection->limit(kSendTimeout);
        const std::string text = text_of(reply, request.method() != "HEAD", reads_only);
        co_await send(*connection, text);
    }
    connection->deadline.cancel();
    connection->close();
    // The deadline's handler may be under way already, and it uses the connection.
    asio::post(io, [this, connection] { connections.erase(connection); });
}

/// False: it has gone, or was too slow.
asio::awaitable<bool> ApiServer::Impl::read(Connection& connection, HttpRequest& request) {
    std::array<char, 4096> buffer{};
    for (;;) {
        asio::error_code error;
        const size_t got = co_await connection.socket.async_read_some(
            asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return false;
        if (request.take({buffer.data(), got}) != HttpRequest::State::more) co_return true;
        if (request.wants_continue()) {
            static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
            co_await asio::async_write(connection.socket, asio::buffer(kContinue),
                                       asio::redirect_error(asio::use_awaitable, error));
        }
    }
}

/// Reads on for a moment: a client that still sends would be reset, and not read why it was refused.
asio::awaitable<void> ApiServer::Impl::send(Connection& connection, const std::string& text) {
    asio::error_code error;
    co_await asio::async_write(connection.socket, asio::buffer(text),
                               asio::redirect_error(asio::use_awaitable, error));
    connection.socket.shutdown(Socket::shutdown_send, error);
    connection.limit(kDrainTimeout);
    std::array<char, 4096> buffer{};
    for (size_t drained = 0; !error && drained < kMaxDrained;)
        drained += co_await connection.socket.async_read_some(
            asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
}

/// Over TCP nobody is known.
Actor ApiServer::Impl::actor(Connection& connection) const {
    if (socket.empty()) return {};
    auto known = actor_of(connection.socket.native_handle());
    if (!known) spdlog::warn("api: {}", known.error().message);
    return known.value_or(Actor{});
}

/// The daemon's thread is asked, and wakes us when it has answered.
asio::awaitable<ApiReply> ApiServer::Impl::ask(const HttpRequest& request, Actor actor) {
    const auto answer = std::make_shared<Answer>(io);
    answer->arrived.expires_after(kTimeout);
    const std::string method = request.method() == "HEAD" ? "GET" : request.method();
    asio::co_spawn(executor,
                   handler({method, request.path(), request.query(), request.body(), request.if_match(),
                            std::move(actor), request.accept()}),
                   [weak = weak_from_this(), asked = std::weak_ptr(answer),
                    what = method + " " + request.path()](std::exception_ptr thrown, ApiReply reply) {
                       if (thrown) {
                           reply = failure(500, "an error inside keyraild; see its log");
                           try {
                               std::rethrow_exception(thrown);
                           } catch (const std::exception& error) {
                               spdlog::error("api: {}: {}", what, error.what());
                           }
                       }
                       const auto self = weak.lock();
                       const auto waits = asked.lock();
                       if (!self || !waits) return;
                       asio::post(self->io, [waits, reply = std::move(reply)]() mutable {
                           waits->reply = std::move(reply);
                           waits->arrived.cancel();
                       });
                   });
    asio::error_code ignored;
    if (!answer->reply)
        co_await answer->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (!answer->reply) co_return failure(504, "keyraild did not come to an answer in time; see its log");
    co_return std::move(*answer->reply);
}

void ApiServer::Impl::start() {
    thread = std::thread([this] { io.run(); });
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, fs::path socket,
                                                   Handler handler) {
    using asio::local::stream_protocol;
    if (try_unix_socket(socket) == 0)
        return fail("{}: another keyraild listens there already; stop it first", socket.string());
    std::error_code ignored;
    fs::remove(socket, ignored);
    const auto impl = std::make_shared<Impl>();
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
    impl->executor = std::move(executor);
    impl->handler = std::move(handler);
    impl->socket = std::move(socket);
    asio::co_spawn(impl->io, impl->accept_all(std::move(acceptor)), asio::detached);
    impl->start();
    return std::unique_ptr<ApiServer>(new ApiServer(impl));
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, const HostPort& address,
                                                   Handler handler) {
    using asio::ip::tcp;
    const auto impl = std::make_shared<Impl>();
    tcp::acceptor acceptor(impl->io);
    asio::error_code error;
    const tcp::endpoint at{asio::ip::make_address(address.address.text(), error), address.port};
    if (!error) acceptor.open(at.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(at, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail("metrics: cannot listen on {}: {}", address.text(), error.message());
    impl->executor = std::move(executor);
    impl->handler = std::move(handler);
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
