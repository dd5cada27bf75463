// SPDX-License-Identifier: Apache-2.0
// What a run of the generator is told: main.cc has the same with words for people.
#pragma once

#include <cstdint>

#include "dataplane/tables/next_hop.h"

namespace keyrail::loadgen {

/// Who the blades get their connections from.
enum class Bind : uint8_t {
    late,   // a dispatcher that answers SYNs: the ClientHello is the first that a blade sees
    early,  // what passes clients' packets on as they are, or nothing at all
    proxy,  // one that makes connections of its own, from one address
};

/// Which blade a ClientHello must come to.
enum class Affinity : uint8_t {
    name,     // the one that its session's name says
    learned,  // the one that it came to the first time
    none,     // any
};

struct Options {
    Bind bind = Bind::late;
    Affinity affinity = Affinity::name;
    uint32_t service = 0;  // address, as it lies in the packet
    uint16_t service_port = 443;
    MacAddress front_mac{}, back_mac{};  // whom clients and blades send their frames to
    uint16_t blades = 3;
    uint32_t clients = 65536;      // addresses, a power of two
    uint32_t connections = 512;    // at once, at most
    double rate = 0, to_rate = 0;  // per second, at first and at the end; 0: closed loop
    double warm_up = 1, seconds = 5;
    uint32_t timeout_ms = 200;  // of the first try; it doubles
    uint32_t tries = 4;
};

/// What both sides look at in each turn of the loop.
struct Clock {
    uint64_t tsc = 0;
    uint32_t ms = 0;  // of timestamps (RFC 7323)
};

}  // namespace keyrail::loadgen
