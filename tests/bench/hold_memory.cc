// SPDX-License-Identifier: Apache-2.0
// What ClientHellos of today take while they wait in holds, and how many can come over a link that brings
// nothing but new connections: from the sizes of the real tables, mbufs and frames. Prints one line of JSON.
// Usage: hold_memory [gigabits=100]
#include <fmt/format.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <string>

#include "dataplane/flow/hold.h"
#include "tests/support/frames.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

/// Of a frame on the wire: preamble, FCS and the gap before the next one, too.
size_t on_wire(size_t payload, std::vector<uint8_t> options, uint8_t flags) {
    constexpr size_t kAround = 8 + 4 + 12;
    const TcpSegment segment{
        .flags = flags, .options = std::move(options), .payload = std::vector<uint8_t>(payload)};
    return std::max<size_t>(segment.frame().size(), 60) + kAround;
}

/// Of an mbuf as io/ports.cc makes them: object, private area of none, data room.
size_t mbuf_size() {
    rte_mempool_objsz size{};
    return rte_mempool_calc_obj_size(sizeof(rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE, 0, &size);
}

int print(double gigabits) {
    const size_t hello = client_hello({.name = SessionName{}}).size();
    size_t wire = on_wire(0, linux_syn_options(), kSyn) + on_wire(0, timestamp_option(1, 2), kAck);
    uint32_t segments = 0;
    for (size_t at = 0; at < hello; at += kFullSegment, segments++)
        wire += on_wire(std::min(kFullSegment, hello - at), timestamp_option(1, 2), kAck);
    constexpr uint32_t kHolds = 1u << 14;
    const auto table = static_cast<double>(HoldTable(kHolds, segments * kHolds).memory()) / kHolds;
    fmt::print(
        "{{\"hello\":{},\"segments\":{},\"wire\":{},\"hellos_per_second\":{:.0f},\"table\":{:.1f},"
        "\"mbuf\":{},\"held\":{:.1f}}}\n",
        hello, segments, wire, gigabits * 1e9 / 8 / static_cast<double>(wire), table, mbuf_size(),
        table + static_cast<double>(segments * mbuf_size()));
    return 0;
}

}  // namespace
}  // namespace keyrail

int main(int argc, char** argv) { return keyrail::print(argc > 1 ? std::stod(argv[1]) : 100); }
