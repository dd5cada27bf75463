// SPDX-License-Identifier: Apache-2.0
#include "dataplane/io/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <thread>

namespace keyrail {
namespace {

namespace fs = std::filesystem;

/// CPUs that this process may use, as an EAL list: "0,1,4".
std::string allowed_cpus() {
    cpu_set_t set;
    std::string list;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return "0";
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) list += (list.empty() ? "" : ",") + std::to_string(cpu);
    }
    return list;
}

uint64_t free_huge_megabytes() {
    constexpr std::string_view kPrefix = "hugepages-";  // "hugepages-2048kB"
    uint64_t total_kb = 0;
    std::error_code error;
    for (const auto& size : fs::directory_iterator("/sys/kernel/mm/hugepages", error)) {
        const std::string name = size.path().filename();
        uint64_t kb = 0, pages = 0;
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), kb);
        std::ifstream(size.path() / "free_hugepages") >> pages;
        total_kb += kb * pages;
    }
    return total_kb / 1024;
}

/// A predecessor that was killed a moment ago: the kernel gives its pages back when it has let go of the
/// memory that AF_XDP sockets had registered, which is some milliseconds after the process's end.
Result<void> check_huge_pages(const Profile& profile) {
    using namespace std::chrono_literals;
    uint64_t free_mb = free_huge_megabytes();
    for (int i = 0; i < 100 && free_mb < profile.memory_mb && profile.huge_pages; i++) {
        std::this_thread::sleep_for(10ms);
        free_mb = free_huge_megabytes();
    }
    if (!profile.huge_pages || free_mb >= profile.memory_mb) return {};
    return fail(
        "{} MB of huge pages are needed and {} MB are free; reserve them: sysctl -w vm.nr_hugepages={} "
        "(or set memory.huge_pages = false in {})",
        profile.memory_mb, free_mb, profile.memory_mb / 2 + 64, profile.file.string());
}

}  // namespace

bool is_pci_device(const std::string& device) {
    static const std::regex kPci("^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7](,.*)?$");
    return std::regex_match(device, kPci);
}

std::vector<std::string> eal_arguments(const Profile& profile, const std::string& prefix) {
    // No files in a hugetlbfs, no shared configuration: a killed dispatcher leaves nothing to clean up.
    std::vector<std::string> arguments = {"keyrail-dp",
                                          "--no-telemetry",
                                          "--log-level=warning",
                                          "--file-prefix=" + prefix,
                                          "-m",
                                          std::to_string(profile.memory_mb)};
    if (profile.huge_pages) {
        // Few files to hand over: net_memif's zero copy and net_virtio_user share them with another process.
        arguments.insert(arguments.end(), {"--in-memory", "--single-file-segments"});
    } else {
        arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "--iova-mode=va"});
    }
    arguments.push_back("--lcores=" + (!profile.cores.empty()
                                           ? profile.cores
                                           : fmt::format("(0-{})@({})", profile.workers, allowed_cpus())));
    bool pci = false;
    for (const PortProfile& port : profile.ports) {
        if (!is_pci_device(port.device)) continue;
        arguments.insert(arguments.end(), {"-a", port.device});
        pci = true;
    }
    if (!pci) arguments.push_back("--no-pci");
    return arguments;
}

Result<void> start_eal(const Profile& profile, const std::string& prefix) {
    if (auto good = check_huge_pages(profile); !good) return good;
    // An AF_XDP port's interface is ours alone: no need of libxdp's dispatcher program, which wants a bpffs,
    // leaves pins in it when we are killed, and confuses interfaces of different network namespaces.
    setenv("LIBXDP_SKIP_DISPATCHER", "1", 0);
    // rte_eal_init keeps pointers into the strings and may permute the vector.
    static std::vector<std::string> arguments;
    arguments = eal_arguments(profile, prefix);
    static std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) {
        return fail("DPDK does not start with '{}': {}; its own messages above say more",
                    fmt::join(arguments, " "), rte_strerror(rte_errno));
    }
    if (rte_lcore_count() < profile.workers + 1u) {
        return fail("{}: worker.cores gives {} lcores; {} workers and the control thread need {}",
                    profile.file.string(), rte_lcore_count(), profile.workers, profile.workers + 1);
    }
    return {};
}

}  // namespace keyrail
