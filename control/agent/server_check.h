// SPDX-License-Identifier: Apache-2.0
// Do the servers answer? Each is sent a ClientHello through its VIP, on the blade itself, and has to say
// something: a port that is open is the kernel's work, an answer is the server's. The connection is given up
// as soon as it has: no session is made, and the accept program has no part in it.
//
// The hello offers TLS 1.2 and no session, so that the server shows in its answer how it names sessions: by
// the hook library, or without. A server that refuses TLS 1.2 is asked by TLS 1.3, which does not show it.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string_view>

#include "dataplane/common/address.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

enum class Hooks : uint8_t { unknown, present, absent };

class ServerCheck {
  public:
    /// Two checks in a row must fail, and each may take kPatience: a busy server does not hang.
    static constexpr std::chrono::milliseconds kInterval{2000}, kAgain{500}, kPatience{2000};

    struct Verdict {
        bool hangs = false;
        Hooks hooks = Hooks::unknown;
        bool operator==(const Verdict&) const = default;
    };
    using Verdicts = std::map<HostPort, Verdict>;  // of those that were checked
    /// Is this a name that the hook library makes? Nobody else can (dataplane/common/session_name.h).
    using IsOurs = std::function<bool(const SessionName&)>;

    static Result<std::unique_ptr<ServerCheck>> create(asio::any_io_executor executor, IsOurs is_ours,
                                                       std::function<void()> changed);
    ~ServerCheck();
    ServerCheck(const ServerCheck&) = delete;
    ServerCheck& operator=(const ServerCheck&) = delete;

    /// Those that listen. Checks what is new at once; forgets what is missing.
    void watch(const std::set<HostPort>& servers);
    [[nodiscard]] const Verdicts& verdicts() const;
    /// So many it has made.
    [[nodiscard]] uint64_t connections() const;

    struct Impl;

  private:
    explicit ServerCheck(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

/// What a server's first bytes say; pure.
struct FirstWords {
    bool enough = false;   // no more need come
    bool refused = false;  // an alert
    bool hello = false;    // a ServerHello, and
    std::string_view session_id;
};
FirstWords read_first_words(std::string_view bytes);

}  // namespace keyrail
