// SPDX-License-Identifier: Apache-2.0
#include "dataplane/common/service_manager.h"

#include <systemd/sd-daemon.h>

#include <cstdint>
#include <cstdlib>

namespace keyrail {

bool is_service() {
    const char* ear = std::getenv("NOTIFY_SOCKET");
    return ear != nullptr && *ear != 0;
}

void tell_ready() { sd_notify(0, "READY=1"); }

void tell_stopping() { sd_notify(0, "STOPPING=1"); }

void tell_alive() { sd_notify(0, "WATCHDOG=1"); }

std::chrono::microseconds alive_interval() {
    uint64_t limit_us = 0;
    if (sd_watchdog_enabled(0, &limit_us) <= 0) return {};
    return std::chrono::microseconds(limit_us / 3);
}

}  // namespace keyrail
