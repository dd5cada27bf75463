// SPDX-License-Identifier: Apache-2.0
// Health checks: keyraild itself asks each blade for each of its services what a client would ask, at each of
// the service's addresses. What comes of it is a verdict by blade and service; whoever hears it stops new
// sessions, and nothing else. One coroutine for each address of a service on a blade; one thread.
#pragma once

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/daemon/checks/check_state.h"
#include "control/daemon/checks/check_verdict.h"
#include "control/daemon/checks/probe.h"
#include "control/daemon/config/config.h"
#include "dataplane/common/ids.h"

namespace keyrail {

struct CheckHost {
    /// The way to the blades is there: keyrail-dp has the latest snapshot, and with it its tables.
    std::function<bool()> reachable;
    /// Not now: it drains, and what a check leaves there would be moved away.
    std::function<bool(BladeId)> paused;
    /// Something on the blade has answered.
    std::function<void(BladeId)> alive;
    /// The verdict is another one; nullopt: nobody checks it any more.
    std::function<void(BladeId, const std::string& service, const std::optional<CheckVerdict>&)> verdict;
    /// An address of ours, from which checks come: once for each.
    std::function<void(const IpAddress&)> from;
    /// What went out or came in: "check.failed", "check.passed", "blade.flapping".
    std::function<void(const char* kind, std::string text)> event;
};

/// How long checks took: few buckets, for a histogram of Prometheus.
struct CheckDurations {
    static constexpr std::array<uint32_t, 10> kBoundsMs{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000};
    std::array<uint64_t, kBoundsMs.size()> within{};  // cumulative
    uint64_t count = 0;
    std::chrono::microseconds sum{0};

    void add(std::chrono::microseconds took);
};

/// One address of a service on a blade.
struct CheckTarget {
    Probe probe;  // `to`: where it goes, which is not the VIP where it goes by the backplane
    CheckState state;
    CheckAnswer last;                            // the latest that counted
    std::string trouble;                         // why checks cannot be made; "": they can
    std::chrono::system_clock::time_point at{};  // of the latest
    uint64_t good = 0, offered = 0, resumed = 0;
    uint32_t not_resumed = 0;             // in a row, though a session was offered
    std::map<std::string, uint64_t> bad;  // by why
    CheckDurations durations;

    // The next of its checks.
    TlsSessionPtr session;
    std::chrono::steady_clock::time_point session_from{};
    std::shared_ptr<asio::steady_timer> timer;
    bool under_way = false, ended = false;
};

class Checks {
  public:
    /// By blade, service, and the address where its clients connect.
    using Key = std::tuple<BladeId, std::string, HostPort>;
    using Targets = std::map<Key, std::shared_ptr<CheckTarget>>;
    using Answers = std::vector<std::pair<Key, CheckAnswer>>;

    /// A blade keeps the session of a check for 10 s (control/hooks): it is offered for a little less.
    static constexpr std::chrono::seconds kOffered{8};

    Checks(asio::any_io_executor executor, CheckHost host);
    ~Checks();
    Checks(const Checks&) = delete;
    Checks& operator=(const Checks&) = delete;

    /// What of a configuration can fail: its files.
    using Prepared = std::map<std::string, TlsClientPtr>;  // by pool
    static Result<Prepared> prepare(const Config& next);
    /// What is known of targets that stay as they were is kept. Cannot fail.
    void commit(const Config& config, Prepared prepared);
    void stop();

    /// The way to the blades was away: what was asked before counts no more.
    void forget_under_way();
    [[nodiscard]] const Targets& all() const;
    /// Once more, at once; the answers count. Empty: nobody checks it.
    asio::awaitable<Answers> run(BladeId blade);
    /// What people should know of a blade beside its verdicts, a sentence each.
    [[nodiscard]] std::vector<std::string> remarks(BladeId blade) const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace keyrail
