// SPDX-License-Identifier: Apache-2.0
// HTTP/JSON over a unix socket that only its owner may use (0600), and what all may see over TCP. A few
// threads parse HTTP; what is asked is answered on the daemon's own thread, so the daemon needs no locks.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

struct ApiRequest {
    std::string method, path;
    std::string body;
};
struct ApiReply {
    int status = 200;
    std::string body;
    std::string type = "application/json";
};

class ApiServer {
  public:
    using Handler = std::function<asio::awaitable<ApiReply>(ApiRequest)>;
    static constexpr std::chrono::seconds kTimeout{5};  // for the daemon's answer

    /// Listens on `socket`; a socket file that nobody listens on is replaced. `handler` runs on `executor`.
    static Result<std::unique_ptr<ApiServer>> open(asio::any_io_executor executor,
                                                   std::filesystem::path socket, Handler handler);
    /// The same on TCP, where anybody may ask: the handler says only what everybody may know.
    static Result<std::unique_ptr<ApiServer>> open(asio::any_io_executor executor, const HostPort& address,
                                                   Handler handler);
    /// Waits for its threads and removes the socket file.
    ~ApiServer();
    ApiServer(const ApiServer&) = delete;
    ApiServer& operator=(const ApiServer&) = delete;

  private:
    struct Impl;
    static std::unique_ptr<Impl> make(asio::any_io_executor executor, Handler handler);
    static std::unique_ptr<ApiServer> run(std::unique_ptr<Impl> impl);
    explicit ApiServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
