// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/core/publisher.h"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/daemon/core/snapshot.h"
#include "link.pb.h"

namespace keyrail {

Publisher::Publisher(const asio::any_io_executor& executor, ConfigPtr config, Sources sources,
                     DataplaneLink& dataplane, std::function<void()> settled)
    : config_(std::move(config)),
      sources_(sources),
      dataplane_(dataplane),
      on_settled_(std::move(settled)),
      settle_timer_(executor),
      publish_timer_(executor) {}

void Publisher::start() {
    settle_timer_.after(kSettle, [this] { settle(); });
}

void Publisher::stop() {
    settle_timer_.cancel();
    publish_timer_.cancel();
}

void Publisher::changed() {
    if (!settled_ && sources_.blades.all_reported()) settle();
    if (!settled_ || publish_timer_.running()) return;
    publish_timer_.after(std::chrono::microseconds(0), [this] { publish(); });
}

void Publisher::settle() {
    if (settled_) return;
    settled_ = true;
    settle_timer_.cancel();
    changed();
    on_settled_();
}

void Publisher::publish() {
    if (!settled_) return;
    const auto& [secrets, blades, economics] = sources_;
    generation_ = std::max(generation_, dataplane_.peer().generation) + 1;
    link::ToDataplane message;
    *message.mutable_snapshot() = make_snapshot(*config_, secrets, blades, economics);
    message.mutable_snapshot()->set_generation(generation_);
    std::vector<std::string> states;
    for (const auto& [id, blade] : blades.all())
        states.push_back(fmt::format("{} {}", id, blade.gone ? "gone" : text_of(blade.intake())));
    for (const auto& [id, blade] : blades.left())
        states.push_back(fmt::format("{} {}", id, blade.gone ? "left, gone" : "left"));
    const auto level = states == told_ ? spdlog::level::debug : spdlog::level::info;
    spdlog::log(level, "snapshot {}: blades {}", generation_, fmt::join(states, ", "));
    told_ = std::move(states);
    dataplane_.send(std::move(message));
}

bool Publisher::up_to_date() const {
    const DataplaneLink::Peer& peer = dataplane_.peer();
    return settled_ && !publish_timer_.running() && peer.connected && peer.generation == generation_;
}

}  // namespace keyrail
