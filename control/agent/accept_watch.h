// SPDX-License-Identifier: Apache-2.0
// Do the connections that the accept program accepts reach the server? Between the two is the blade's packet
// filter: the usual rule "new, but not SYN: drop" drops them all. Then the program accepts segment after
// segment, and the kernel opens fewer connections than that. Pure: counters and the time come in.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace keyrail {

class AcceptWatch {
  public:
    using Time = std::chrono::steady_clock::time_point;
    /// So many are missing at two looks, and most of what came between them. What a client sends again counts
    /// again: 0.2, 0.4, 0.8 s later.
    static constexpr uint64_t kMissing = 3;
    /// Nothing comes while the blade is bound early: it is tried again after a while, each time a longer one.
    static constexpr std::chrono::minutes kFirstPause{1}, kLongestPause{60};

    /// `accepted`: by the program; `opened`: connections that came in, of any kind, or that found the
    /// server's queue full, and segments whose checksum was wrong (the program does not look at it), by the
    /// kernel. What is the matter, if anything is.
    std::optional<std::string> look(uint64_t accepted, uint64_t opened, Time now);

  private:
    bool first_ = true, lost_ = false;
    uint64_t accepted_ = 0, opened_ = 0;  // at the last look
    uint64_t missing_ = 0;                // accepted, and not opened
    Time until_{};
    std::chrono::minutes pause_ = kFirstPause;
};

/// What to say where connections for `where` are lost.
std::string lost_on_the_way(const std::string& where);

/// TcpExt ListenDrops.
uint64_t connections_refused(const std::string& folder = "/proc/net");

/// Tcp PassiveOpens and InCsumErrors, and TcpExt ListenDrops, of this network namespace. `folder`: tests give
/// another one.
uint64_t connections_opened(const std::string& folder = "/proc/net");

}  // namespace keyrail
