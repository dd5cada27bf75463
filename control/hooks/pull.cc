// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/pull.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control/hooks/session_names.h"
#include "control/store/pull.h"

namespace keyrail::hooks {

namespace {

struct Socket {
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    Socket() = default;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() {
        if (fd >= 0) close(fd);
    }
};

/// The agent's user has the other end: anybody may bind an abstract name.
bool is_agent(int fd, const Store& store) {
    ucred peer{};
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == store.owner();
}

uint64_t now_us() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

/// Whatever signals come, no longer than the budget.
bool answers(int fd, uint32_t budget_us) {
    const uint64_t deadline = now_us() + budget_us;
    pollfd entry{fd, POLLIN, 0};
    for (uint64_t now = now_us(); now < deadline; now = now_us()) {
        const timespec left{static_cast<time_t>((deadline - now) / 1000000),
                            static_cast<long>((deadline - now) % 1000000 * 1000)};
        const int ready = ppoll(&entry, 1, &left, nullptr);
        if (ready >= 0) return ready == 1;
    }
    return false;
}

}  // namespace

bool pull(const Store& store, const SessionName& name, uint16_t tls_version, uint16_t service_slot) {
    constexpr uint32_t kLongest = 1'000'000;  // whatever the shared memory says
    uint32_t budget_us = 0;
    std::array<uint8_t, 16> number{};
    if (!store.control().read([&](const StoreControl& control) {
            budget_us = control.pull_budget_us;
            number = control.pull_socket;
        }) ||
        budget_us == 0 || !is_ours(store, name))
        return false;
    const Socket agent;
    const PullAddress address(number);
    if (agent.fd < 0 || connect(agent.fd, address.get(), address.size) != 0 || !is_agent(agent.fd, store))
        return false;
    PullRequest request;
    request.tls_version = tls_version;
    request.service_slot = service_slot;
    request.name = name;
    PullReply reply;
    return send(agent.fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request &&
           answers(agent.fd, budget_us < kLongest ? budget_us : kLongest) &&
           recv(agent.fd, &reply, sizeof reply, 0) == sizeof reply && reply.result == PullReply::kLookAgain;
}

}  // namespace keyrail::hooks
