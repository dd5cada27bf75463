// SPDX-License-Identifier: Apache-2.0
// What is told of a traced packet, and where it waits for the control thread: a ring of one worker, which
// drops when it is full, and counts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "dataplane/common/session_name.h"
#include "dataplane/io/trace.h"
#include "dataplane/wire/headers.h"

namespace keyrail::trace {

/// Of a ClientHello, told of each packet that it lies in.
struct TracedHello {
    bool known = false;
    bool move = false;   // its session is asked for first
    bool moved = false;  // the holder is not the session's home
    bool named = false;  // `name` is of this chassis
    uint8_t server_name_size = 0;
    TlsVersion tls_version = TlsVersion::unknown;  // of the session that it offers
    BladeId holder = 0;                            // of its session; 0: nobody that we know of
    SessionName name{};
    std::array<char, 255> server_name{};
};

struct TracedPacket {
    Exit exit;
    uint64_t arrived_ns = 0;  // unix time
    uint32_t waited_us = 0;   // from then to its end
    uint16_t port = 0;        // index into Ports
    uint16_t size = 0;        // of the frame
    uint16_t captured = 0;    // bytes of it that are kept
    Headers headers;          // as it came
    TracedHello hello;
};

/// Records, each with the first bytes of its frame. One producer, one consumer.
class RecordRing {
  public:
    RecordRing(size_t records, uint16_t snap) : records_(records), bytes_(records * snap), snap_(snap) {}

    /// False: there is no room.
    bool put(const TracedPacket& record, const uint8_t* frame) {
        const size_t at = in_.load(std::memory_order_relaxed);
        if (at - out_.load(std::memory_order_acquire) == records_.size()) return false;
        records_[at % records_.size()] = record;
        if (record.captured != 0) std::memcpy(&bytes_[at % records_.size() * snap_], frame, record.captured);
        in_.store(at + 1, std::memory_order_release);
        return true;
    }
    /// Calls `use(record, frame)` for the oldest one. False: there is none.
    template <typename Use>
    bool take(Use use) {
        const size_t at = out_.load(std::memory_order_relaxed);
        if (at == in_.load(std::memory_order_acquire)) return false;
        const TracedPacket& record = records_[at % records_.size()];
        use(record, std::span<const uint8_t>(bytes_).subspan(at % records_.size() * snap_, record.captured));
        out_.store(at + 1, std::memory_order_release);
        return true;
    }

  private:
    std::vector<TracedPacket> records_;
    std::vector<uint8_t> bytes_;
    const uint16_t snap_;
    std::atomic<size_t> in_{0}, out_{0};
};

}  // namespace keyrail::trace
