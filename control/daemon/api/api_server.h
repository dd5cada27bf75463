// SPDX-License-Identifier: Apache-2.0
// HTTP/JSON over a unix socket, and what all may see over TCP. Who may what: actor.h. One thread
// reads HTTP, within bounds (http_request.h): so many connections, each for so long. What is asked is
// answered on the daemon's own thread, so the daemon needs no locks; an answer that takes long keeps no other
// one waiting.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "control/daemon/api/actor.h"
#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

struct ApiRequest {
    std::string method, path;
    std::string query;  // of a GET
    std::string body;
    std::string if_match;  // of the header field, "" without
    Actor actor;           // over TCP nobody: they may read what everybody may know
    std::string accept = {};
};
struct ApiReply {
    int status = 200;
    std::string body;
    std::string type = "application/json";
    std::string etag = {};  // without quotes; "": none
};

class ApiServer {
  public:
    using Handler = std::function<asio::awaitable<ApiReply>(ApiRequest)>;
    static constexpr std::chrono::seconds kTimeout{8};      // for the daemon's answer
    static constexpr std::chrono::seconds kReadTimeout{5};  // for the whole of a request
    static constexpr std::chrono::seconds kSendTimeout{10};
    /// More connections: the one that has been reading its request longest makes room.
    static constexpr size_t kMaxConnections = 64;

    /// Listens on `socket`, in a folder of its own; a socket file that nobody listens on is replaced.
    /// `handler` runs on `executor`.
    static Result<std::unique_ptr<ApiServer>> open(asio::any_io_executor executor,
                                                   std::filesystem::path socket, Handler handler);
    /// The same on TCP, where anybody may ask, and only read: the handler says only what everybody may know.
    static Result<std::unique_ptr<ApiServer>> open(asio::any_io_executor executor, const HostPort& address,
                                                   Handler handler);
    /// Ends its thread and removes the socket file.
    ~ApiServer();
    ApiServer(const ApiServer&) = delete;
    ApiServer& operator=(const ApiServer&) = delete;

  private:
    struct Impl;
    explicit ApiServer(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
