// SPDX-License-Identifier: Apache-2.0
// libkeyrail-tls.so: libc's functions by which servers read their sockets (HAProxy: recv, Apache: read), with
// a look at whose socket it is in front (socket_watch.h).
#include <dlfcn.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>

#include "control/hooks/socket_watch.h"

using keyrail::hooks::SocketWatch;

namespace {

/// libc's function, or that of another preloaded library.
template <typename Function>
class Next {
  public:
    explicit constexpr Next(const char* name) : name_(name) {}
    Function get() {
        Function found = found_.load(std::memory_order_relaxed);
        if (found == nullptr) {
            found = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name_));
            found_.store(found, std::memory_order_relaxed);
        }
        return found;
    }

  private:
    const char* name_;
    std::atomic<Function> found_{nullptr};
};

using Read = ssize_t (*)(int, void*, size_t);
using Receive = ssize_t (*)(int, void*, size_t, int);
constinit Next<Read> next_read("read");
constinit Next<Receive> next_receive("recv");

/// Not only at the first call, which may be in a signal handler.
__attribute__((constructor)) void find_next() {
    next_read.get();
    next_receive.get();
}

}  // namespace

// Under names of our own: libc's headers may have them as inline functions (_FORTIFY_SOURCE).
extern "C" {

__attribute__((visibility("default"))) ssize_t keyrail_read(int, void*, size_t) __asm__("read");
__attribute__((visibility("default"))) ssize_t keyrail_recv(int, void*, size_t, int) __asm__("recv");

ssize_t keyrail_read(int file, void* buffer, size_t size) {
    SocketWatch::reading(file);
    return next_read.get()(file, buffer, size);
}

ssize_t keyrail_recv(int socket, void* buffer, size_t size, int flags) {
    SocketWatch::reading(socket);
    return next_receive.get()(socket, buffer, size, flags);
}

}  // extern "C"
