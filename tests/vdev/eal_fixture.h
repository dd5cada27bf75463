// SPDX-License-Identifier: Apache-2.0
// A test program with DPDK in it: one EAL per process, without huge pages, in a network namespace of its own
// that disappears with the process. Include it in exactly one file of the program: it defines main().
#pragma once

#include <gtest/gtest.h>
#include <net/if.h>
#include <rte_eal.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "dataplane/io/eal.h"
#include "dataplane/profile/profile.h"

namespace keyrail::test {

inline constexpr int kSkipped = 77;  // meson's exit status for "skipped"

/// Runs a command in the namespace of the test; true when it succeeds.
inline bool shell(const std::string& command) {
    return std::system(("{ " + command + "; } >/dev/null 2>&1").c_str()) == 0;
}

inline int run_with_eal(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        std::fputs("skipped: needs root and network namespaces\n", stderr);
        return kSkipped;
    }
    char folder[] = "/tmp/keyrail-eal-XXXXXX";
    setenv("RUNTIME_DIRECTORY", mkdtemp(folder), 1);
    Profile profile;
    profile.huge_pages = false;
    profile.memory_mb = 256;
    if (const auto started = start_eal(profile, "keyrail"); !started) {
        std::fprintf(stderr, "%s\n", started.error().message.c_str());
        return 1;
    }
    const int result = RUN_ALL_TESTS();
    rte_eal_cleanup();
    std::filesystem::remove_all(folder);
    return result;
}

}  // namespace keyrail::test

int main(int argc, char** argv) { return keyrail::test::run_with_eal(argc, argv); }
