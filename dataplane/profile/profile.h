// SPDX-License-Identifier: Apache-2.0
// The hardware profile of a dispatcher (hw/profiles/*.toml): ports, cores, memory. Read once, at start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

enum class PollMode : uint8_t {
    busy,      // never sleep: the appliance
    adaptive,  // sleep a little when idle: laptops and labs
};

inline constexpr unsigned kMaxWorkers = 64;
inline constexpr size_t kMaxPorts = 8;  // NextHop::port must hold an index, and a chassis has no more

struct PortProfile {
    std::string name;    // "front0"
    std::string role;    // "front" or "back"
    std::string device;  // EAL device: PCI address, or vdev with arguments ("net_af_xdp0,iface=front0")
    std::string kernel_interface;        // name of the TAP in the kernel
    std::string mac;                     // optional; "" = the device's own
    std::vector<std::string> addresses;  // given to the TAP: "192.0.2.1/24", "2001:db8::1/64"
    std::vector<std::string> routes;     // "default via 192.0.2.254": installed through the TAP
};

struct Profile {
    std::filesystem::path file;
    uint16_t workers = 1;
    std::string cores;  // EAL --lcores; "" = let the kernel place the threads
    PollMode poll = PollMode::busy;
    bool urgent = true;  // the control thread, and workers that nap, run before everything of normal priority
    bool huge_pages = true;
    uint32_t memory_mb = 512;  // EAL -m
    uint32_t mbufs = 32768;
    uint32_t flows = 1u << 20;   // flow-table entries per worker
    std::string flow_directory;  // tmpfs or hugetlbfs, where flows outlive a restart; "" = the run directory
    uint32_t holds = 4096;       // ClientHellos held at once, per worker
    uint32_t moved = 1u << 20;   // moved-table entries, for all workers
    uint32_t routes = 16384;     // routes and neighbours, of each IP version
    std::vector<PortProfile> ports;
};

/// Errors are `FILE:LINE: what; what to do`. Unknown keys, wrong types and duplicates are errors.
Result<Profile> read_profile(const std::filesystem::path& file);

}  // namespace keyrail
