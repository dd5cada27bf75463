// SPDX-License-Identifier: Apache-2.0
// What keyraild knows about each blade: the operator's wish (drain), what its agent says, whether it answers.
// From these follow three things that have nothing to do with each other:
//   intake      which new sessions it takes: what the operator wishes, and what agent and server are fit for
//   its flows   live as long as the blade does, whatever it takes: also when its server stops, its agent is
//               away, it drains, or is configured no more
//   is gone     nothing on it answers any more: only then its flows are somebody else's
// Which blades drain, and which have taken clients, is kept in a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/blades/wishes.h"
#include "control/daemon/checks/check_verdict.h"
#include "control/daemon/config/config.h"
#include "dataplane/common/ids.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class AgentHello;
class Health;
}  // namespace chassis

inline constexpr uint32_t kLoadMax = 65535;

/// Which new sessions a blade takes.
enum class BladeIntake : uint8_t { none, open, draining, overloaded };
/// As people see it: "down", "up", "draining", "overloaded".
const char* text_of(BladeIntake intake);

/// How a blade is to be drained.
struct DrainOptions {
    uint32_t rate = 2000;      // sessions moved per second
    uint64_t deadline_ms = 0;  // unix time; 0: none
    bool operator==(const DrainOptions&) const = default;
};

/// One address of a service on a blade, as its agent sees it.
struct ServedAddress {
    bool listening = false, address_here = true;
    bool mptcp = false;          // the accept program cannot give it connections
    bool hangs = false;          // its port is open, and nobody answers
    bool without_hooks = false;  // no session can be moved to it
    bool operator==(const ServedAddress&) const = default;
    [[nodiscard]] bool well() const { return listening && address_here && !hangs; }
};

struct Blade {
    BladeConfig config;
    std::set<uint16_t> ports;                               // of the services whose pools it is in
    std::map<std::string, std::vector<HostPort>> services;  // by name: all their addresses

    // operator
    bool draining = false;
    DrainOptions drain;
    BladeWish wish;

    // keyraild's own checks
    std::map<std::string, CheckVerdict> checks;  // by service; those that nobody checks are missing
    std::set<std::string> fail_open;             // its services of which too few blades are healthy

    // agent
    bool connected = false;
    bool reported = false;  // a Health came, and nothing since made it worthless
    bool silent = false;    // neither the agent nor the machine has answered for a moment
    bool gone = false;      // for so long that it is proven dead
    bool mute = false;      // its agent is connected, and does not answer: a fault, no more than that
    std::string version, kernel;
    bool accept_program = false;
    std::vector<std::string> problems;
    std::map<uint16_t, bool> listening;           // by port, as last reported
    std::map<HostPort, ServedAddress> addresses;  // likewise; nothing of an older agent
    std::set<std::string> unserved;            // its services that no blade serves well: faults are ignored
    std::map<std::string, uint64_t> accepted;  // what the accept program has done, by reason
    uint32_t load = 0;                         // as last reported, of kLoadMax
    bool overloaded = false;                   // over its limit, and not yet clearly below it again
    uint32_t published_load = 0;  // follows load in steps, so that not every report makes a snapshot
    uint64_t keys_version = 0;    // of the Keys that its agent goes by
    uint64_t sessions = 0, store_bytes = 0, resumed = 0, full = 0;

    /// Its agent is here and has something to say: its word counts. Where it is silent and checks are made,
    /// they decide alone.
    [[nodiscard]] bool agent_speaks() const { return connected && !mute; }
    /// What a check found; unknown also where too few are healthy for checks to count.
    [[nodiscard]] CheckVerdict::Health checked(const std::string& service) const;
    /// Percent of its part of the service's clients, 1 to 100.
    [[nodiscard]] uint32_t share(const std::string& service) const;
    [[nodiscard]] bool serves(uint16_t port) const;
    /// Somebody listens for this service, and at each of its addresses all is well.
    [[nodiscard]] bool serves_well(const std::string& service) const;
    /// Well, or as well as anybody does.
    [[nodiscard]] bool serves_best(const std::string& service) const;
    /// Its agent was here, and has no accept program that works, or the server listens by MPTCP: this blade
    /// cannot take connections of this service that the dispatcher answered.
    [[nodiscard]] bool unable_to_accept(const std::string& service) const;
    [[nodiscard]] bool uses_mptcp(const std::string& service) const;
    /// Servers of this service here make session names of their own: no session can be moved to them. "" is
    /// one that nobody knows: all do.
    [[nodiscard]] bool without_hooks(const std::string& service) const;
    /// What is wrong with its servers and its agent, a sentence each; clients may be served all the same.
    [[nodiscard]] std::vector<std::string> faults() const;
    [[nodiscard]] BladeIntake intake() const;
    /// Why it takes nothing new, in a few words; empty when it does.
    [[nodiscard]] std::string why_none() const;
};

/// A blade that has taken clients and is configured no more: its flows live until it is gone, or it was known
/// for long enough.
struct LeftBlade {
    BladeId id = 0;
    std::string name;
    IpAddress address{};
    HostPort agent{};
    uint64_t until_ms = 0;  // unix time
    bool gone = false;
};

class Blades {
  public:
    /// `file` keeps which blades drain, and how.
    explicit Blades(std::filesystem::path file) : file_(std::move(file)) {}
    Result<void> load();

    /// So long a blade is known that was taken out of the configuration. Flows end sooner, or are idle for
    /// longer than any service allows.
    static constexpr uint64_t kLeftMs = 24 * 3600 * 1000;

    /// Takes over the blades of a configuration; what is known of those that stay is kept. Those that are
    /// configured no more have left, unless they were revoked.
    void configure(const Config& config, uint64_t now_ms);
    /// By id. None of them is one of all().
    [[nodiscard]] const std::map<BladeId, LeftBlade>& left() const { return left_; }
    /// A configured blade has taken clients, now or before a restart: it may have flows.
    [[nodiscard]] bool has_taken(BladeId id) const { return taken_.contains(id); }
    /// Forgets those that have been known for long enough; whether there were any.
    bool forget_left(uint64_t now_ms);

    /// False with an error when the state cannot be written; then nothing has changed.
    /// nullopt: it takes new clients again.
    Result<void> set_draining(BladeId id, std::optional<DrainOptions> options);

    [[nodiscard]] Blade* find(BladeId id);
    [[nodiscard]] const std::map<BladeId, Blade>& all() const { return blades_; }
    [[nodiscard]] bool all_reported() const;
    /// How many blades of a pool take clients of this service.
    [[nodiscard]] size_t serving(const std::vector<BladeId>& pool, const ServiceConfig& service) const;
    /// Services of which too few blades are healthy: checks take nobody out there.
    [[nodiscard]] const std::set<std::string>& fail_open() const { return open_; }

    // --- what happens; each says whether the dataplane must be told ---
    bool hello(BladeId id, const chassis::AgentHello& hello);
    bool health(BladeId id, const chassis::Health& health);
    void connected(BladeId id);
    void disconnected(BladeId id);
    bool silent(BladeId id, bool silent);
    bool gone(BladeId id, bool gone);
    bool mute(BladeId id, bool mute);
    /// nullopt: nobody checks it any more.
    bool checked(BladeId id, const std::string& service, const std::optional<CheckVerdict>& verdict);
    bool wished(BladeId id, const BladeWish& wish);

  private:
    bool compare();
    void count_healthy();
    void taken(const Blade& blade);
    Result<void> save(const std::map<BladeId, DrainOptions>& draining) const;
    void save_or_warn() const;

    std::filesystem::path file_;
    std::map<BladeId, LeftBlade> taken_;  // configured, and have taken clients: until_ms means nothing
    std::map<BladeId, LeftBlade> left_;
    std::map<BladeId, DrainOptions> draining_;       // also ids that are not configured now
    std::map<std::string, uint32_t> least_healthy_;  // by service: fail_open, where it is not 0
    std::set<std::string> open_;
    std::map<BladeId, Blade> blades_;
};

}  // namespace keyrail
