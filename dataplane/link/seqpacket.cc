// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/seqpacket.h"

#include <fcntl.h>
#include <google/protobuf/message_lite.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace keyrail {
namespace {

/// Room for one packet of the largest size; beyond the system's limit where we may.
void enlarge_buffers(int fd) {
    const int size = static_cast<int>(kMaxPacket) + (64 << 10);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

int Descriptor::release() { return std::exchange(fd_, -1); }

void Descriptor::reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
}

Result<Descriptor> lock_run_directory(const std::filesystem::path& directory) {
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail("{} cannot be made: {}", directory.string(), strerror(errno));
    }
    const std::filesystem::path file = directory / "dp.lock";
    Descriptor lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) return fail("{} cannot be opened: {}", file.string(), strerror(errno));
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return fail("another keyrail-dp uses {}; stop it or give another --run-dir", directory.string());
    }
    return lock;
}

Result<Descriptor> listen_seqpacket(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.native().size() >= sizeof address.sun_path) {
        return fail("{}: a socket's path may have {} characters; use a shorter --run-dir", path.string(),
                    sizeof address.sun_path - 1);
    }
    path.native().copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(path.c_str());
    Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const mode_t mask = umask(0177);  // the file must never exist with a wider mode
    const bool good = socket &&
                      bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                      listen(socket.get(), 4) == 0;
    const int error = errno;
    umask(mask);
    if (!good) return fail("{} cannot be listened on: {}", path.string(), strerror(error));
    return socket;
}

std::optional<Descriptor> accept_peer(int listener) {
    Descriptor peer(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!peer) return std::nullopt;
    ucred who{};
    socklen_t size = sizeof who;
    const bool known = getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0;
    if (!known || (who.uid != 0 && who.uid != geteuid())) {
        SPDLOG_WARN("control connection refused: user {} is neither root nor our own", who.uid);
        return std::nullopt;
    }
    enlarge_buffers(peer.get());
    return peer;
}

Transfer receive_packet(int fd, std::span<uint8_t> buffer, size_t& size) {
    iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    ssize_t count = 0;
    do {
        count = recvmsg(fd, &header, MSG_TRUNC | MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return errno == EAGAIN ? Transfer::again : Transfer::closed;
    size = static_cast<size_t>(count);
    if ((header.msg_flags & MSG_TRUNC) != 0) return Transfer::too_large;
    return size == 0 ? Transfer::closed : Transfer::done;
}

Transfer send_message(int fd, const google::protobuf::MessageLite& message) {
    const std::string bytes = message.SerializeAsString();
    ssize_t count = 0;
    do {
        count = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count >= 0) return Transfer::done;
    if (errno == EMSGSIZE) return Transfer::too_large;
    return errno == EAGAIN || errno == ENOBUFS ? Transfer::again : Transfer::closed;
}

}  // namespace keyrail
