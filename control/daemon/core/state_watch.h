// SPDX-License-Identifier: Apache-2.0
// Events of what nobody did: blades, services, drains, repositories and keys are looked at now and then, and
// what has become of them since is told. How things are when they are first seen is no event: a restart of
// keyraild tells nothing.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"
#include "control/daemon/events/events.h"
#include "control/daemon/moves/drains.h"

namespace keyrail {

class StateWatch {
  public:
    using Clock = std::chrono::steady_clock;
    /// So long keys may wait for somebody before that is told, and told again.
    static constexpr std::chrono::minutes kKeysPatience{10};

    explicit StateWatch(Events& events) : events_(events) {}

    /// `progress(id)`: of a blade's drain, or nullptr.
    template <typename Progress>
    void look(const Config& config, const Blades& blades, Clock::time_point now, Progress progress) {
        for (const auto& [id, blade] : blades.all()) {
            look_at(blade);
            look_at(blade, progress(id), now);
        }
        std::erase_if(blades_, [&](const auto& known) { return !blades.all().contains(known.first); });
        look_at_services(config, blades);
    }
    /// `problem`: why it is down.
    void repository(const std::string& kind, bool up, const std::string& problem);
    /// Whom coming keys wait for.
    void keys(const std::vector<std::string>& waits_for, Clock::time_point now);

  private:
    struct Known {
        BladeIntake intake = BladeIntake::none;
        bool gone = false, emptied = false, stuck = false;
    };
    void look_at(const Blade& blade);
    void look_at(const Blade& blade, const DrainProgress* progress, Clock::time_point now);
    void look_at_services(const Config& config, const Blades& blades);

    Events& events_;
    std::map<BladeId, Known> blades_;
    using Part = std::tuple<std::string, std::string, std::string>;  // service; of a route: sni, alpn
    std::map<Part, bool> served_;
    std::map<std::string, bool> repositories_;
    Clock::time_point keys_wait_since_{};
};

}  // namespace keyrail
