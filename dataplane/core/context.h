// SPDX-License-Identifier: Apache-2.0
// All that one worker owns, and what it reads of others. Every stage gets it; nothing here is shared for
// writing.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "dataplane/common/stats.h"
#include "dataplane/cookie/cookie_macs.h"
#include "dataplane/cookie/guesses.h"
#include "dataplane/cookie/syn_cookie.h"
#include "dataplane/core/names.h"
#include "dataplane/core/shared.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/core/token_bucket.h"
#include "dataplane/flow/asked_flows.h"
#include "dataplane/flow/flow_hash.h"
#include "dataplane/flow/flow_table.h"
#include "dataplane/flow/hold.h"
#include "dataplane/flow/recent_syns.h"
#include "dataplane/io/ports.h"
#include "dataplane/io/trace.h"
#include "dataplane/io/tx.h"
#include "dataplane/wire/client_hello.h"

namespace keyrail {

/// Read once per burst, so that no stage asks for the time.
struct Clock {
    uint64_t us = 0;      // monotonic
    uint32_t s = 0;       // the same in seconds
    uint32_t unix_s = 0;  // wall clock, for expiries
    uint32_t tai_ms = 0;  // for cookies; the blades are told it (keyraild, which is on this machine)
    uint32_t ticks = 0;   // `us` for the flow table

    /// What follows from `us`.
    void derive() {
        s = static_cast<uint32_t>(us / 1'000'000);
        ticks = static_cast<uint32_t>(us / (1'000'000 / kFlowTicks));
    }
};

/// What fits, as the kernel's links and routes have it (Shared::port_mtu, backplane_mtu).
struct Mtus {
    std::array<uint32_t, kMaxPorts> longest_frame;  // untagged, by port: what is longer is looked at
    std::array<uint32_t, 2> mss_option;             // of a SYN-ACK: IPv4, IPv6

    Mtus() {
        longest_frame.fill(kEthernetSize + kUsualMtu);
        carry(kUsualMtu);
    }
    void read(const Shared& shared) {
        for (size_t i = 0; i < kMaxPorts; i++)
            longest_frame[i] = kEthernetSize + shared.port_mtu[i].load(std::memory_order_relaxed);
        carry(std::min(kUsualMtu, shared.backplane_mtu.load(std::memory_order_relaxed)));
    }

  private:
    void carry(uint32_t mtu) {
        mss_option = {keyrail::mss_option(static_cast<uint16_t>(mtu - kIpv4Min - kTcpMin)),
                      keyrail::mss_option(static_cast<uint16_t>(mtu - kIpv6Size - kTcpMin))};
    }
};

class Tracer;

struct Context {
    Context(uint16_t index, Shared& all, const Ports& open_ports, std::span<FlowTable::Bucket> buckets,
            uint32_t holds, uint32_t segments, std::unique_ptr<NameDecrypter> decrypter, const Trace& tracer)
        : worker(index),
          shared(all),
          ports(open_ports),
          flow_hash(all.flow_hash_key),
          flows(buckets),
          holds_table(holds, segments),
          names(std::move(decrypter)),
          trace(tracer),
          tx(open_ports, index, stats, trace) {
        for (size_t i = 0; i < open_ports.list.size(); i++)
            std::memcpy(&port_macs[i], open_ports.list[i].mac.data(), sizeof(MacAddress));
    }

    const uint16_t worker;
    Shared& shared;
    const Ports& ports;
    std::array<uint64_t, kMaxPorts> port_macs{};  // their addresses as words (wire/macs.h)
    const Snapshot* snapshot = nullptr;           // of this loop; null before the first configuration
    Clock clock;
    WorkerStats stats;
    FlowHash flow_hash;
    FlowTable flows;
    HoldTable holds_table;
    RecentSyns recent_syns;
    /// Of clients without timestamps that got a cookie: theirs are believed where many are guessed
    /// (cookie/guesses.h).
    RecentSyns bare_syns{60};
    CookieMacs cookie_macs;
    Guesses guesses;
    Mtus mtus;
    std::unique_ptr<NameDecrypter> names;
    Trace trace;
    Tracer* packet_trace = nullptr;  // an operator's, while there is one; the control thread's
    Tx tx;
    AskedFlows asked_flows;
    TokenBucket refusals{10'000, 1000}, pings{1000, 100};  // what VIPs say by themselves (rewrite/answers.h)
    TokenBucket small_syns{2000, 512};                     // which blades answer natively
    TokenBucket too_bigs{1000, 100};                       // ICMP errors (rewrite/too_big.h)
    TokenBucket asks{2000, 512};            // whose a flow is: as many as agents look up in passing
    uint32_t began_tai_ms = 0;              // begin_anew()
    uint64_t alone_at_us = 0;               // from then on all cookies are its own
    bool wake_control = false;              // a move was asked for in this loop: one eventfd write at its end
    std::array<uint8_t, kHelloMax> stream;  // a hello gathered from several segments
    std::array<uint8_t, kHelloMax> scratch;  // a hello gathered from several records

    /// The process before this one is not known to have left no flows, and they are lost: as long as its
    /// cookies are good, whose they are is asked.
    void begin_anew() {
        constexpr uint64_t kCookieUs = uint64_t{2} << KR_COOKIE_PERIOD_SHIFT;  // in ms
        began_tai_ms = clock.tai_ms;
        alone_at_us = clock.us + kCookieUs * 1000;
    }
    [[nodiscard]] const Service& service(uint16_t index) const { return snapshot->services[index]; }
    /// The service of a connection that outlived a burst. kNoService: nobody serves that address and port any
    /// more.
    [[nodiscard]] uint16_t service_at(const Tuple& tuple) const {
        return snapshot->find(tuple.destination, tuple.destination_port);
    }
    /// The pool of a service where nothing is known of the content asked for.
    [[nodiscard]] const Pool& pool(uint16_t service_index) const {
        return snapshot->pools[service(service_index).pool];
    }
};

}  // namespace keyrail
