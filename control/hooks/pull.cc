// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/pull.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>

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

uint32_t now_ms() { return static_cast<uint32_t>(now_us() / 1000); }

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

using PullSocket = std::array<uint8_t, 16>;

/// Names that were asked for in vain, as far as there is room: the next one in the same place takes it.
class NotFound {
  public:
    [[nodiscard]] bool lately(const SessionName& name, uint32_t now_ms) const {
        const uint64_t known = place(name).load(std::memory_order_relaxed);
        return known >> 32 == fingerprint(name) &&
               static_cast<int32_t>(static_cast<uint32_t>(known) - now_ms) > 0;
    }
    void note(const SessionName& name, uint32_t now_ms) {
        place(name).store(uint64_t{fingerprint(name)} << 32 | (now_ms + kNotAgainMs),
                          std::memory_order_relaxed);
    }

  private:
    // A name is AES output: any bytes of it are a hash.
    static uint32_t fingerprint(const SessionName& name) {
        uint32_t hash = 0;
        std::memcpy(&hash, &name[kNameBlockOffset], sizeof hash);
        return hash;
    }
    std::atomic<uint64_t>& place(const SessionName& name) const {
        uint32_t hash = 0;
        std::memcpy(&hash, &name[kNameBlockOffset + 4], sizeof hash);
        return places_[hash % places_.size()];
    }

    mutable std::array<std::atomic<uint64_t>, 1024> places_{};
};

NotFound not_found;
std::atomic<int> under_way{0};

/// One of those that may wait at a time.
struct Turn {
    const bool granted = under_way.fetch_add(1, std::memory_order_relaxed) < kMaxPulls;
    Turn() = default;
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { under_way.fetch_sub(1, std::memory_order_relaxed); }
};

bool ask(const Store& store, const PullSocket& number, const PullRequest& request, uint32_t budget_us) {
    constexpr uint32_t kLongest = 1'000'000;  // whatever the shared memory says
    const Socket agent;
    const PullAddress address(number);
    if (agent.fd < 0 || connect(agent.fd, address.get(), address.size) != 0 || !is_agent(agent.fd, store))
        return false;
    PullReply reply;
    return send(agent.fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request &&
           answers(agent.fd, budget_us < kLongest ? budget_us : kLongest) &&
           recv(agent.fd, &reply, sizeof reply, 0) == sizeof reply && reply.result == PullReply::kLookAgain;
}

}  // namespace

Pull pull(const Store& store, const SessionName& name, TlsVersion tls_version, uint16_t service_slot) {
    uint32_t budget_us = 0;
    PullSocket number{};
    if (!store.control().read([&](const StoreControl& control) {
            budget_us = control.pull_budget_us;
            number = control.pull_socket;
        }) ||
        budget_us == 0 || not_found.lately(name, now_ms()) || !is_ours(store, name))
        return Pull::kNotAsked;
    const Turn turn;
    if (!turn.granted) return Pull::kNotAsked;
    PullRequest request;
    request.tls_version = tls_version;
    request.service_slot = service_slot;
    request.name = name;
    if (ask(store, number, request, budget_us)) return Pull::kLookAgain;
    not_found.note(name, now_ms());
    return Pull::kNotThere;
}

}  // namespace keyrail::hooks
