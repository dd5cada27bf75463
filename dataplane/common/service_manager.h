// SPDX-License-Identifier: Apache-2.0
// What systemd hears from a service (sd_notify(3)). Where nobody listens ($NOTIFY_SOCKET is not set) nothing
// is done, so that a daemon behaves the same by hand. Not for hot paths: each is a system call.
#pragma once

#include <chrono>

namespace keyrail {

/// Is this a service, which is started again when it ends?
bool is_service();
/// Whoever waits for this service may start now.
void tell_ready();
/// It ends because it was told to.
void tell_stopping();
/// It moves. systemd ends and restarts a service that does not say so within WatchdogSec=.
void tell_alive();
/// How often tell_alive() is wanted: three times in WatchdogSec=. 0: nobody waits for it.
std::chrono::microseconds alive_interval();

}  // namespace keyrail
