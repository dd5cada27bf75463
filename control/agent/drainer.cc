// SPDX-License-Identifier: Apache-2.0
#include "control/agent/drainer.h"

#include <spdlog/spdlog.h>

#include "chassis.pb.h"
#include "control/agent/idle_closer.h"

namespace keyrail {

void Drainer::set(const chassis::Drain& drain) {
    if (close_idle_ != drain.close_idle())
        spdlog::info("drain: connections that are idle {}", drain.close_idle() ? "are closed" : "stay");
    close_idle_ = drain.close_idle();
    renew_tickets_ = drain.renew_tickets();
}

void Drainer::tick(const std::set<HostPort>& services) const {
    if (!close_idle_) return;
    auto sockets = SockDiag::open();
    if (!sockets) return spdlog::warn("drain: {}", sockets.error().message);
    if (const size_t closed = close_idle(*sockets, services); closed != 0)
        spdlog::info("drain: {} idle connections closed", closed);
}

}  // namespace keyrail
