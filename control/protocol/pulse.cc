// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/pulse.h"

#include "dataplane/common/service_manager.h"

namespace keyrail {

Pulse::Pulse(const asio::any_io_executor& loop) : timer_(loop), interval_(alive_interval()) {
    tell_ready();
    if (interval_.count() != 0) beat();
}

Pulse::~Pulse() { tell_stopping(); }

void Pulse::beat() {
    tell_alive();
    timer_.after(interval_, [this] { beat(); });
}

}  // namespace keyrail
