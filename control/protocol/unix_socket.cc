// SPDX-License-Identifier: Apache-2.0
// try_unix_socket.
#include "control/protocol/unix_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace keyrail {

int try_unix_socket(const std::filesystem::path& socket) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    const std::string& path = socket.native();
    if (path.size() >= sizeof at.sun_path) return ENAMETOOLONG;
    path.copy(at.sun_path, path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    const int why = ::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 ? 0 : errno;
    ::close(fd);
    return why;
}

}  // namespace keyrail
