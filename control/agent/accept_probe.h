// SPDX-License-Identifier: Apache-2.0
// Does what the dispatcher sends reach the server? A connection is made through the accept program to a
// server of this blade, as the dispatcher would hand it over: a segment without SYN, with a good cookie,
// received on the interface. If the kernel has the connection then, all is well, and it is reset at once. If
// not, what is between the accept program and the server drops it: a packet filter that wants a SYN first. No
// packet of a probe leaves the blade: the segment has no data that would be acknowledged.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/agent/accept_program.h"
#include "control/agent/sock_diag.h"
#include "dataplane/common/address.h"

namespace keyrail {

/// A client as it is made up for a probe.
struct ProbeClient {
    HostPort from, to;  // of one family
    uint32_t isn = 0;
    uint8_t key_id = 0;
    kr_cookie_key key{};
    uint32_t tai_ms = 0;
    std::array<uint8_t, 6> interface{};  // its address: where the frame goes
};
/// Its first segment after the handshake, without data; or, by the same numbers, its reset. An Ethernet
/// frame.
std::vector<uint8_t> probe_frame(const ProbeClient& client, bool reset);

class AcceptProbe {
  public:
    enum class Outcome : uint8_t { reached, lost, unknown };

    /// `interface`: where the accept program is attached. `from`: somebody who is reached by it.
    AcceptProbe(std::string interface, IpAddress from) : interface_(std::move(interface)), from_(from) {}

    /// A few ms at most. Unknown: it cannot be tried, or the server is too busy to take anything.
    Outcome probe(const AcceptProgram& program, const HostPort& server);

  private:
    [[nodiscard]] HostPort client_for(const HostPort& server) const;
    [[nodiscard]] bool arrives(const ProbeClient& client);

    std::string interface_;
    IpAddress from_;
    std::optional<SockDiag> sockets_;  // opened with the first probe
};

/// What came of the probes. Pure.
class ProbeResults {
  public:
    /// So many in a row: one may be lost in a busy moment.
    static constexpr int kLost = 2;

    void saw(const HostPort& server, AcceptProbe::Outcome outcome);
    /// Others are forgotten.
    void keep(const std::set<HostPort>& servers);
    [[nodiscard]] bool known(const HostPort& server) const { return lost_.contains(server); }
    /// Servers whose last probe was lost.
    [[nodiscard]] std::vector<HostPort> doubtful() const;
    /// What is the matter, if anything is.
    [[nodiscard]] std::optional<std::string> problem() const;

  private:
    std::map<HostPort, int> lost_;  // in a row
};

}  // namespace keyrail
