// SPDX-License-Identifier: Apache-2.0
// Publisher: which snapshot the dataplane gets, and when. Several changes of one moment make one snapshot.
// After a restart it waits for the agents first.
#pragma once

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>

#include "control/daemon/blades/blades.h"
#include "control/daemon/config/config.h"
#include "control/daemon/core/dataplane_link.h"
#include "control/daemon/keys/secrets.h"
#include "control/daemon/moves/economics.h"
#include "control/protocol/timer.h"

namespace keyrail {

class Publisher {
  public:
    /// After a restart the agents get this long to come back before the first snapshot says who is up,
    /// and the first directory what is where: keyrail-dp goes on with its last ones, so that blades that were
    /// up do not flap, and sessions that were moved are found.
    static constexpr std::chrono::milliseconds kSettle{2000};

    /// What snapshots are made of, beside the configuration.
    struct Sources {
        const Secrets& secrets;
        const Blades& blades;
        const Economics& economics;
    };
    /// `settled` is called once: the agents have reported, or their time is over.
    Publisher(const asio::any_io_executor& executor, ConfigPtr config, Sources sources,
              DataplaneLink& dataplane, std::function<void()> settled);

    void start();
    void stop();
    void configure(ConfigPtr config) { config_ = std::move(config); }
    /// Something in the sources has changed.
    void changed();
    /// A dataplane has connected: it needs a snapshot now.
    void publish();

    [[nodiscard]] bool settled() const { return settled_; }
    [[nodiscard]] uint64_t generation() const { return generation_; }
    /// The dataplane has the latest snapshot, and no change waits.
    [[nodiscard]] bool up_to_date() const;

  private:
    void settle();

    ConfigPtr config_;
    Sources sources_;
    DataplaneLink& dataplane_;
    std::function<void()> on_settled_;
    Timer settle_timer_, publish_timer_;
    bool settled_ = false;
    uint64_t generation_ = 0;
    std::vector<std::string> told_;  // of the blades, in the log: a change of theirs is worth a line
};

}  // namespace keyrail
