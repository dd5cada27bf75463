// SPDX-License-Identifier: Apache-2.0
#include "control/agent/kernel_checks.h"

#include <bpf/btf.h>
#include <sys/utsname.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

namespace keyrail {

namespace {

constexpr const char* kFunction = "bpf_sk_assign_tcp_reqsk";

struct Setting {
    const char* name;
    const char* why;
};

// The cookie carries these options: a kernel that does not do them refuses the connection.
constexpr std::array<Setting, 4> kSettings = {{
    {"tcp_syncookies", "the kernel would reset every connection that the dispatcher answered"},
    {"tcp_timestamps", "connections of clients with timestamps would be reset"},
    {"tcp_sack", "connections of clients with selective acknowledgements would be reset"},
    {"tcp_window_scaling", "connections of clients with window scaling would be reset"},
}};

}  // namespace

std::string kernel_release() {
    utsname name{};
    return uname(&name) == 0 ? name.release : "unknown";
}

Result<void> check_kernel() {
    const std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), &btf__free);
    if (!types)
        return fail(
            "kernel {}: its type information (/sys/kernel/btf/vmlinux) cannot be read: {}; late binding "
            "needs "
            "Linux 6.9 or later, built with CONFIG_DEBUG_INFO_BTF",
            kernel_release(), std::strerror(errno));
    if (btf__find_by_name_kind(types.get(), kFunction, BTF_KIND_FUNC) < 0)
        return fail(
            "kernel {} has no {}: late binding needs Linux 6.9 or later; early binding works on this kernel",
            kernel_release(), kFunction);
    return {};
}

std::vector<std::string> sysctl_problems(const std::string& root) {
    std::vector<std::string> problems;
    for (const auto& [name, why] : kSettings) {
        std::ifstream file(root + "/net/ipv4/" + name);
        int value = 0;
        if (!(file >> value))
            problems.push_back(fmt::format("net.ipv4.{} cannot be read; is /proc mounted?", name));
        else if (value == 0)
            problems.push_back(
                fmt::format("net.ipv4.{} is 0: {}; run 'sysctl -w net.ipv4.{}=1'", name, why, name));
    }
    return problems;
}

}  // namespace keyrail
