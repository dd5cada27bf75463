// SPDX-License-Identifier: Apache-2.0
// Loads the accept program (control/accept), attaches it at TCX ingress and keeps it pinned: it goes on
// working when the agent is gone, and an agent that starts anew takes it over without a gap.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/accept/accept.h"
#include "dataplane/common/address.h"
#include "dataplane/common/result.h"

namespace keyrail {

class AcceptProgram {
  public:
    /// [key id]; nullopt: no connection with a cookie of that key is taken.
    using Keys = std::array<std::optional<std::array<uint8_t, 16>>, 2>;
    using Counters = std::array<uint64_t, KR_ACCEPT_REASONS>;

    /// Attaches to the interface, in place of what an agent before us left under `bpffs`; mounts a bpffs
    /// there if there is none. Keys and services of before stay in force until they are set.
    static Result<AcceptProgram> attach(const std::string& interface, const std::filesystem::path& bpffs);
    /// Detaches what is pinned under `bpffs` and removes the pins. Nothing there is no error.
    static Result<void> detach(const std::filesystem::path& bpffs);

    AcceptProgram(AcceptProgram&&) noexcept;
    AcceptProgram& operator=(AcceptProgram&&) noexcept;
    ~AcceptProgram();

    Result<void> set_keys(const Keys& keys);
    /// What the dispatcher's TAI clock says beyond this machine's CLOCK_BOOTTIME. Until it is set cookies go
    /// by this machine's own TAI clock.
    Result<void> set_clock(std::chrono::milliseconds ahead);
    /// Connections to these are taken, to others not. Replaces what was there; what stays is never absent.
    Result<void> set_services(const std::set<HostPort>& services);
    [[nodiscard]] Counters counters() const;

    /// For probes. A key by which it takes connections, and its id; nullopt: none is set. The caller wipes
    /// it.
    [[nodiscard]] std::optional<std::pair<uint8_t, kr_cookie_key>> a_key() const;
    /// What it takes for the dispatcher's clock.
    [[nodiscard]] uint32_t tai_ms() const;
    /// Has this Ethernet frame received on its interface, as if it had come in there.
    Result<void> receive(std::span<const uint8_t> frame) const;

  private:
    struct Impl;
    explicit AcceptProgram(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace keyrail
