// SPDX-License-Identifier: Apache-2.0
// A capture file as Ethernet frames, whatever its link type and tunnels: what stands in for the NIC in
// `keyrail-replay`.
#pragma once

#include <pcap/pcap.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/replay/pcapng.h"
#include "dataplane/wire/cursor.h"

namespace keyrail::replay {

struct Frame {
    uint64_t number = 0;  // in the file, from 1
    Bytes bytes;          // an Ethernet frame; valid until the next one is read
    size_t lost = 0;      // zeros at its end: bytes that were on the wire and are not in the capture
};

class Capture {
  public:
    static Result<Capture> open(const std::string& path);

    /// The next frame; nullopt at the end of the file, or where it cannot be read any further.
    std::optional<Frame> next();
    /// Why next() stopped before the end of the file; empty if it did not.
    [[nodiscard]] const std::string& error() const { return error_; }

  private:
    struct Close {
        void operator()(pcap_t* file) const { pcap_close(file); }
    };
    void replace(Frame& frame, std::vector<uint8_t> bytes);
    void complete(Frame& frame);
    explicit Capture(pcap_t* file) : pcap_(file) {}
    explicit Capture(PcapNg file) : pcapng_(std::move(file)) {}
    std::optional<PcapNg::Packet> next_packet();

    std::unique_ptr<pcap_t, Close> pcap_;  // one of the two
    std::optional<PcapNg> pcapng_;
    uint64_t number_ = 0;
    std::vector<uint8_t> buffer_;
    std::string error_;
};

}  // namespace keyrail::replay
