// SPDX-License-Identifier: Apache-2.0
// What a run of the generator came to.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/lib/loadgen/histogram.h"

namespace keyrail::loadgen {

/// Why a connection failed. Those that got no answer say to what, after all retransmissions.
enum class Failure : uint8_t { no_syn_ack, no_server_hello, no_response, no_close, reset, closed, count };

/// Of connections; started == completed + failed + unfinished.
struct Counts {
    uint64_t started = 0, completed = 0, unfinished = 0;
    std::array<uint64_t, static_cast<size_t>(Failure::count)> failed{};
    uint64_t late = 0;           // started later than meant, for all connections were in use
    uint64_t retransmitted = 0;  // segments that the client said again
    uint64_t wrong_blade = 0;    // ClientHellos that came to another blade than the one they are for
    uint64_t split = 0;          // segments that came to another blade than those before them
    uint64_t unreadable = 0;     // ClientHellos that are not as they were sent
    uint64_t duplicates = 0, gaps = 0, strays = 0;  // segments, as Event
    uint64_t other = 0;                             // frames that are no TCP over IPv4
    uint64_t no_memory = 0;                         // segments not said for want of an mbuf

    [[nodiscard]] uint64_t failures() const;
};

/// A stretch of the time that is measured. Latencies in ns, of connections that were meant to start in it.
struct Interval {
    double seconds = 0;  // from the beginning of the measurement to this interval's end
    double rate = 0;     // connections per second that were meant to start at its end; 0 in a closed loop
    uint64_t started = 0, completed = 0, failed = 0;
    uint64_t p50_ns = 0, p99_ns = 0;  // of whole lives that ended in it
};

struct PortCounts {
    uint64_t received = 0, sent = 0, refused = 0;
};

struct Report {
    double seconds = 0;          // measured
    uint64_t completed = 0;      // in these seconds
    Counts counts;               // of the whole run
    Histogram first_byte, life;  // ns from when a connection was meant to start
    std::vector<Interval> intervals;
    PortCounts front, back;
    // Share of the time in which there was something to do; near 1, the generator is what limits.
    double busy = 0;

    [[nodiscard]] double per_second() const {
        return seconds > 0 ? static_cast<double>(completed) / seconds : 0;
    }
    [[nodiscard]] nlohmann::json json() const;
    [[nodiscard]] std::string text() const;  // a few lines for people
};

}  // namespace keyrail::loadgen
