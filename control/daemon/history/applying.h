// SPDX-License-Identifier: Apache-2.0
// Another configuration, in force for good or on trial: on the disk first, then in force, and back to the one
// before when nobody confirms it in time, or when it shows that it makes things worse.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/events/events.h"
#include "control/daemon/history/effects.h"
#include "control/daemon/history/history.h"
#include "control/protocol/timer.h"

namespace keyrail {

/// What applying needs of the rest of keyraild.
class ApplyHost {
  public:
    virtual ~ApplyHost() = default;
    /// Puts it in force; `ready` is called when nothing can fail any more but itself.
    virtual Result<void> put_in_force(Config next, const std::function<Result<void>()>& ready) = 0;
    /// Who goes by an older configuration still.
    [[nodiscard]] virtual std::vector<std::string> who_lags() const = 0;
    [[nodiscard]] virtual const Config& configuration() const = 0;
    [[nodiscard]] virtual const Blades& known_blades() const = 0;
    [[nodiscard]] virtual const Economics& costs() const = 0;
};

class Applying {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds kGuard{5};    // for dataplane and agents to take it
    static constexpr std::chrono::seconds kNoBlade{2};  // a service without a blade that had one
    static constexpr std::chrono::seconds kShortest{1}, kLongest{24 * 3600};

    Applying(asio::any_io_executor executor, History history, ApplyHost& host, Events& events);

    struct Request {
        std::string text;
        std::filesystem::path file;  // where it comes from
        std::string actor, from, message;
        std::optional<std::chrono::seconds> confirm;
        bool guard = true;
        /// What is done although somebody loses by it; the rest is refused.
        std::set<Harm> accepted;
        std::optional<uint64_t> if_revision;
    };
    enum class Why : uint8_t { mistakes, pending, other_revision, harm, nothing_pending, unknown, failed };
    struct Refusal {
        Why why = Why::failed;
        std::string text;
        std::vector<std::string> mistakes;  // of the file
        std::vector<Effect> losses;         // what is not done unasked
    };
    struct Applied {
        uint64_t revision = 0;
        std::vector<Effect> effects;
    };
    template <typename T>
    using Outcome = tl::expected<T, Refusal>;

    Outcome<Applied> apply(Request request);
    /// The file that keyraild was started with, as it is now.
    Outcome<Applied> reload(const std::string& actor, bool yes);
    /// An earlier revision, as a new one. Its text is found here.
    Outcome<Applied> roll_back_to(uint64_t number, Request request);
    Outcome<void> confirm(const std::string& actor);
    Outcome<void> cancel(const std::string& actor);
    /// Comes when everybody goes by it, or the time is over: who does not.
    asio::awaitable<std::vector<std::string>> taken(std::chrono::milliseconds most);

    [[nodiscard]] const History& history() const { return history_; }
    /// What somebody wanted last is in force: not refused, and not rolled back but by hand.
    [[nodiscard]] bool last_apply_successful() const { return last_apply_successful_; }
    /// keyraild's own file; `successful`: what was wanted last is in force.
    void started_with(std::filesystem::path file, bool successful) {
        own_file_ = std::move(file);
        last_apply_successful_ = successful;
    }
    void stop() { timer_.cancel(); }

  private:
    Outcome<Applied> try_apply(Request request);
    Outcome<Config> check(const Request& request) const;
    std::optional<Refusal> refused(const Request& request, const std::vector<Effect>& effects) const;
    void watch(const Request& request);
    void look();
    [[nodiscard]] std::string worse();
    void roll_back(const std::string& why, const std::string& actor);
    [[nodiscard]] History::Source source_of(const Request& request) const;
    [[nodiscard]] std::string pending_text() const;

    asio::any_io_executor executor_;
    History history_;
    ApplyHost& host_;
    Events& events_;
    Timer timer_;
    std::filesystem::path own_file_;
    bool last_apply_successful_ = true;
    // Of the one on trial.
    bool guarded_ = false, all_took_it_ = false;
    std::set<std::string> lagged_before_, had_blade_;
    Clock::time_point began_{}, ends_{};  // not by the time of day, which may be set meanwhile
    std::optional<Clock::time_point> without_blade_since_;
};

}  // namespace keyrail
