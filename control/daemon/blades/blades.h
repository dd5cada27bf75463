// SPDX-License-Identifier: Apache-2.0
// What keyraild knows about each blade: the operator's wish (drain), what its agent says, whether it can be
// reached. From these follows the state that the dataplane gets. Draining is the operator's: it is kept in a
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/config/config.h"
#include "dataplane/common/result.h"

namespace keyrail {

namespace chassis {
class AgentHello;
class Health;
}  // namespace chassis

inline constexpr uint32_t kLoadMax = 65535;

enum class BladeCondition : uint8_t { down, up, draining, overloaded };
const char* text_of(BladeCondition condition);

/// How a blade is to be drained.
struct DrainOptions {
    uint32_t rate = 2000;      // sessions moved per second
    uint64_t deadline_ms = 0;  // unix time; 0: none
    bool operator==(const DrainOptions&) const = default;
};

struct Blade {
    BladeConfig config;
    std::set<uint16_t> ports;  // of the services whose pools it is in

    // operator
    bool draining = false;
    DrainOptions drain;

    // agent
    bool connected = false;
    bool reported = false;  // a Health came, and nothing since made it worthless
    bool reachable = true;  // false: neither the agent nor the machine answers
    std::string version, kernel;
    bool accept_program = false;
    std::vector<std::string> problems;
    std::map<uint16_t, bool> listening;  // by port, as last reported
    uint32_t load = 0;                   // as last reported, of kLoadMax
    bool overloaded = false;             // over its limit, and not yet clearly below it again
    uint32_t published_load = 0;         // follows load in steps, so that not every report makes a snapshot
    uint64_t keys_version = 0;           // of the Keys that its agent goes by
    uint64_t sessions = 0, store_bytes = 0, resumed = 0, full = 0;

    [[nodiscard]] bool serves(uint16_t port) const;
    /// Its agent was here, and has no accept program: this blade cannot take connections that the dispatcher
    /// answered.
    [[nodiscard]] bool unable_to_accept() const { return !version.empty() && !accept_program; }
    [[nodiscard]] BladeCondition condition() const;
    /// Why it is down, in a few words; empty when it is not.
    [[nodiscard]] std::string why_down() const;
};

class Blades {
  public:
    /// `file` keeps which blades drain, and how.
    explicit Blades(std::filesystem::path file) : file_(std::move(file)) {}
    Result<void> load();

    /// Takes over the blades of a configuration; what is known of those that stay is kept.
    void configure(const Config& config);

    /// False with an error when the state cannot be written; then nothing has changed.
    /// nullopt: it takes new clients again.
    Result<void> set_draining(uint16_t id, std::optional<DrainOptions> options);

    [[nodiscard]] Blade* find(uint16_t id);
    [[nodiscard]] const std::map<uint16_t, Blade>& all() const { return blades_; }
    [[nodiscard]] bool all_reported() const;
    /// How many blades of a pool take clients at this port.
    [[nodiscard]] size_t serving(const std::vector<uint16_t>& pool, uint16_t port) const;

    // --- what happens; each says whether the dataplane must be told ---
    bool hello(uint16_t id, const chassis::AgentHello& hello);
    bool health(uint16_t id, const chassis::Health& health);
    void connected(uint16_t id);
    void disconnected(uint16_t id);
    bool reachable(uint16_t id, bool answers);

  private:
    std::filesystem::path file_;
    std::map<uint16_t, DrainOptions> draining_;  // also ids that are not configured now
    std::map<uint16_t, Blade> blades_;
};

}  // namespace keyrail
