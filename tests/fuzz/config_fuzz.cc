// SPDX-License-Identifier: Apache-2.0
// Any file as keyraild's configuration and as a dispatcher's profile: it is read, or refused with at least
// one mistake.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "control/daemon/config.h"
#include "dataplane/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) __builtin_trap();
    const std::string file = "/proc/self/fd/" + std::to_string(fd);
    if (const auto config = keyrail::read_config(file); !config && config.error().empty()) __builtin_trap();
    if (const auto profile = keyrail::read_profile(file); !profile && profile.error().message.empty())
        __builtin_trap();
    close(fd);
    return 0;
}
