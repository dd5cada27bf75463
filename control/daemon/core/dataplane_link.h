// SPDX-License-Identifier: Apache-2.0
// keyraild's end of the link to keyrail-dp (dataplane/common/link.proto): a unix SOCK_SEQPACKET client that
// connects, and connects again for ever. One thread, no locks.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "dataplane/common/result.h"

namespace keyrail {

namespace link {
class FlowAsk;
class FromDataplane;
class MoveRequest;
class Stats;
class ToDataplane;
class TraceRecords;
}  // namespace link

struct DataplaneEvents {
    std::function<void()> connected;  // its Hello has come: send everything
    std::function<void()> lost;       // it was connected
    std::function<void(const link::MoveRequest&)> move;
    std::function<void(const link::FlowAsk&)> flow;
    std::function<void(const link::TraceRecords&)> traced = [](const link::TraceRecords&) {};
};

class DataplaneLink {
  public:
    static constexpr size_t kMaxMessage = size_t{1} << 20;
    static constexpr size_t kMaxQueued = 4096;  // messages; more: the dataplane hangs, the link is made anew
    static constexpr std::chrono::milliseconds kRetry{200};

    DataplaneLink(asio::any_io_executor executor, std::filesystem::path socket, DataplaneEvents events);
    ~DataplaneLink();
    DataplaneLink(const DataplaneLink&) = delete;
    DataplaneLink& operator=(const DataplaneLink&) = delete;

    void start();
    void stop();

    struct Peer {
        bool connected = false;
        std::string version;
        uint32_t workers = 0;
        uint64_t generation = 0;  // of the last snapshot that it accepted
    };
    [[nodiscard]] const Peer& peer() const;

    /// Queues a message; without a connection it is dropped: everything is sent anew after connecting. Keys
    /// in it are wiped.
    void send(link::ToDataplane message);

    asio::awaitable<Result<link::Stats>> stats(std::chrono::milliseconds timeout);
    /// Any other question. Its answer may be link.Refused.
    asio::awaitable<Result<link::FromDataplane>> ask(link::ToDataplane question,
                                                     std::chrono::milliseconds timeout);

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
