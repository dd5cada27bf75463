// SPDX-License-Identifier: Apache-2.0
#include "control/agent/pull_server.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

namespace keyrail {

using Descriptor = asio::posix::stream_descriptor;

namespace {

/// Root, and the group that may open the store.
bool may_ask(int socket, gid_t group) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    if (peer.uid == 0 || peer.gid == group) return true;
    std::vector<gid_t> groups(256);
    size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) return false;
    groups.resize(size / sizeof(gid_t));
    return std::ranges::find(groups, group) != groups.end();
}

}  // namespace

struct PullServer::Impl {
    Impl(const asio::any_io_executor& executor, int socket, gid_t group_in, Ask ask_in)
        : listener(executor, socket), group(group_in), ask(std::move(ask_in)) {}

    using DescriptorPtr = std::shared_ptr<Descriptor>;
    struct Waiting {
        SessionName name{};
        DescriptorPtr asker;
    };

    Descriptor listener;
    gid_t group;
    Ask ask;
    std::array<uint8_t, 16> named_by{};
    std::map<uint64_t, Waiting> waiting;  // by request; one per connection at most
    uint64_t last_request = 0;
    size_t connections = 0;
    bool stopped = false;

    asio::awaitable<void> accept_all(std::shared_ptr<Impl> self);
    asio::awaitable<void> serve(std::shared_ptr<Impl> self, DescriptorPtr asker);
    void take(const DescriptorPtr& asker, const PullRequest& request);
    void forget(const DescriptorPtr& asker);
    static void reply(const Waiting& who, bool there);
};

void PullServer::Impl::reply(const Waiting& who, bool there) {
    PullReply answer;
    answer.result = there ? PullReply::kLookAgain : PullReply::kLookAgain + 1;
    (void)!::send(who.asker->native_handle(), &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// What it asked before, it does not wait for any more.
void PullServer::Impl::forget(const DescriptorPtr& asker) {
    std::erase_if(waiting, [&](const auto& entry) { return entry.second.asker == asker; });
}

void PullServer::Impl::take(const DescriptorPtr& asker, const PullRequest& request) {
    forget(asker);
    const uint64_t number = ++last_request;
    const auto [entry, added] = waiting.emplace(number, Waiting{request.name, asker});
    if (ask(number, request)) return;
    reply(entry->second, false);
    waiting.erase(entry);
}

asio::awaitable<void> PullServer::Impl::serve([[maybe_unused]] std::shared_ptr<Impl> self,
                                              DescriptorPtr asker) {
    asio::error_code error;
    while (!stopped) {
        co_await asker->async_wait(Descriptor::wait_read, asio::redirect_error(asio::use_awaitable, error));
        if (error || stopped) break;
        PullRequest request;
        const ssize_t size =
            ::recv(asker->native_handle(), &request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (size != sizeof request || request.version != PullRequest::kVersion) break;
        take(asker, request);
    }
    forget(asker);
    connections--;
}

asio::awaitable<void> PullServer::Impl::accept_all(std::shared_ptr<Impl> self) {
    asio::error_code error;
    asio::steady_timer pause(listener.get_executor());
    while (!stopped) {
        co_await listener.async_wait(Descriptor::wait_read, asio::redirect_error(asio::use_awaitable, error));
        if (error || stopped) break;
        const int socket =
            ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (socket < 0) {  // no descriptors left and the like; meanwhile servers go on without an answer
            pause.expires_after(std::chrono::milliseconds(200));
            co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
            continue;
        }
        if (connections >= kMaxConnections || !may_ask(socket, group)) {
            ::close(socket);
            continue;
        }
        connections++;
        const auto asker = std::make_shared<Descriptor>(listener.get_executor(), socket);
        asio::co_spawn(listener.get_executor(), serve(self, asker), asio::detached);
    }
}

PullServer::PullServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

PullServer::~PullServer() {
    impl_->stopped = true;
    asio::error_code ignored;
    impl_->listener.close(ignored);
    for (auto& [number, who] : impl_->waiting) Impl::reply(who, false);
    impl_->waiting.clear();
}

Result<std::unique_ptr<PullServer>> PullServer::open(asio::any_io_executor executor,
                                                     const std::string& store_file, Ask ask) {
    struct stat file{};
    if (::stat(store_file.c_str(), &file) != 0) return fail("{}: {}", store_file, std::strerror(errno));
    std::array<uint8_t, 16> number{};
    if (getrandom(number.data(), number.size(), 0) != static_cast<ssize_t>(number.size()))
        return fail("getrandom: {}", std::strerror(errno));
    const PullAddress address(number);
    const int socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0 || ::bind(socket, address.get(), address.size) != 0 || ::listen(socket, 64) != 0) {
        const int why = errno;
        if (socket >= 0) ::close(socket);
        return fail("the servers' socket cannot be opened: {}", std::strerror(why));
    }
    const auto impl = std::make_shared<Impl>(executor, socket, file.st_gid, std::move(ask));
    impl->named_by = number;
    asio::co_spawn(executor, impl->accept_all(impl), asio::detached);
    return std::unique_ptr<PullServer>(new PullServer(impl));
}

const std::array<uint8_t, 16>& PullServer::number() const { return impl_->named_by; }

void PullServer::stored(const SessionName& name) {
    std::erase_if(impl_->waiting, [&](const auto& entry) {
        if (entry.second.name != name) return false;
        Impl::reply(entry.second, true);
        return true;
    });
}

void PullServer::answered(uint64_t request, bool there) {
    const auto found = impl_->waiting.find(request);
    if (found == impl_->waiting.end()) return;
    Impl::reply(found->second, there);
    impl_->waiting.erase(found);
}

}  // namespace keyrail
