// SPDX-License-Identifier: Apache-2.0
// ApiServer: cpp-httplib, one handler for everything.
#include "control/daemon/api/api_server.h"

#include <httplib.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <asio/co_spawn.hpp>
#include <atomic>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/protocol/unix_socket.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr size_t kThreads = 4;
constexpr size_t kMaxBody = 65536;

ApiReply failure(int status, const std::string& text) {
    return {status, nlohmann::json{{"error", text}}.dump(), "application/json"};
}

}  // namespace

struct ApiServer::Impl {
    asio::any_io_executor executor;
    fs::path socket;  // empty: TCP
    Handler handler;
    httplib::Server server;
    std::thread thread;
    std::atomic<bool> stopping{false};  // nobody runs the executor any more

    ApiReply ask(const httplib::Request& request) const;
};

/// Runs on a thread of httplib's.
ApiReply ApiServer::Impl::ask(const httplib::Request& request) const {
    const auto promise = std::make_shared<std::promise<ApiReply>>();
    auto answer = promise->get_future();
    asio::co_spawn(executor, handler({request.method, request.path, request.body}),
                   [promise](std::exception_ptr thrown, ApiReply reply) {
                       if (thrown)
                           promise->set_exception(thrown);
                       else
                           promise->set_value(std::move(reply));
                   });
    const auto deadline = std::chrono::steady_clock::now() + kTimeout;
    auto state = std::future_status::timeout;
    while (state != std::future_status::ready && !stopping && std::chrono::steady_clock::now() < deadline)
        state = answer.wait_for(std::chrono::milliseconds(100));
    if (state != std::future_status::ready)
        return failure(504, "keyraild did not come to an answer in time; see its log");
    try {
        return answer.get();
    } catch (const std::exception& error) {
        spdlog::error("api: {} {}: {}", request.method, request.path, error.what());
        return failure(500, "an error inside keyraild; see its log");
    }
}

/// Everything but where it listens.
std::unique_ptr<ApiServer::Impl> ApiServer::make(asio::any_io_executor executor, Handler handler) {
    auto impl = std::make_unique<Impl>();
    impl->executor = std::move(executor);
    impl->handler = std::move(handler);
    httplib::Server& server = impl->server;
    server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server.set_payload_max_length(kMaxBody);
    server.set_read_timeout(std::chrono::seconds(2));
    server.set_keep_alive_max_count(1);  // an idle client shall not keep a thread
    const auto route = [api = impl.get()](const httplib::Request& request, httplib::Response& response) {
        ApiReply reply = api->ask(request);
        if (!reply.body.ends_with('\n')) reply.body += '\n';
        response.status = reply.status;
        response.set_content(reply.body, reply.type);
    };
    server.Get(".*", route);
    server.Post(".*", route);
    return impl;
}

std::unique_ptr<ApiServer> ApiServer::run(std::unique_ptr<Impl> impl) {
    impl->thread = std::thread([api = impl.get()] { api->server.listen_after_bind(); });
    return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, fs::path socket,
                                                   Handler handler) {
    if (try_unix_socket(socket) == 0)
        return fail("{}: another keyraild listens there already; stop it first", socket.string());
    auto impl = make(std::move(executor), std::move(handler));
    std::error_code ignored;
    fs::remove(socket, ignored);
    impl->server.set_address_family(AF_UNIX);
    const mode_t before = ::umask(0177);
    const bool bound = impl->server.bind_to_port(socket.string(), 80);
    ::umask(before);
    if (!bound)
        return fail("cannot listen on {}; is its path too long, or its folder not writable?",
                    socket.string());
    impl->socket = std::move(socket);
    return run(std::move(impl));
}

Result<std::unique_ptr<ApiServer>> ApiServer::open(asio::any_io_executor executor, const HostPort& address,
                                                   Handler handler) {
    auto impl = make(std::move(executor), std::move(handler));
    if (!impl->server.bind_to_port(address.address.text(), address.port))
        return fail("metrics: cannot listen on {}: {}", address.text(), std::strerror(errno));
    return run(std::move(impl));
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ApiServer::~ApiServer() {
    impl_->stopping = true;
    impl_->server.stop();
    if (impl_->thread.joinable()) impl_->thread.join();
    std::error_code ignored;
    if (!impl_->socket.empty()) fs::remove(impl_->socket, ignored);
}

}  // namespace keyrail
