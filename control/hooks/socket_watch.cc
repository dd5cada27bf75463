// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/socket_watch.h"

namespace keyrail::hooks {

namespace {
// There from a thread's start, without an allocation.
__attribute__((tls_model("initial-exec"))) constinit thread_local int* watched = nullptr;
}  // namespace

SocketWatch::SocketWatch(int* socket) : watches_(socket != nullptr) {
    if (watches_) watched = socket;
}

SocketWatch::~SocketWatch() {
    if (watches_) watched = nullptr;
}

void SocketWatch::reading(int socket) {
    if (watched == nullptr) return;
    *watched = socket;
    watched = nullptr;
}

}  // namespace keyrail::hooks
