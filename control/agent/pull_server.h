// SPDX-License-Identifier: Apache-2.0
// The agent's end of pull.h: TLS server processes of this blade ask for sessions that the store does not
// have.
#pragma once

#include <asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>

#include "control/store/pull.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

class PullServer {
  public:
    static constexpr size_t kMaxConnections = 1024;  // each has one request under way at most
    /// Asks keyraild; false: nobody can be asked now.
    using Ask = std::function<bool(uint64_t request, const PullRequest& asked)>;

    /// Root and the processes of the group of `store_file` may ask: those that may open it.
    static Result<std::unique_ptr<PullServer>> open(asio::any_io_executor executor,
                                                    const std::string& store_file, Ask ask);
    /// StoreControl::pull_socket, for those that may.
    [[nodiscard]] const std::array<uint8_t, 16>& number() const;
    ~PullServer();
    PullServer(const PullServer&) = delete;
    PullServer& operator=(const PullServer&) = delete;

    /// A session has come: servers that wait for it look again.
    void stored(const SessionName& name);
    /// keyraild's answer. There is nobody to tell when the session came before it.
    void answered(uint64_t request, bool there);

  private:
    struct Impl;
    explicit PullServer(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
