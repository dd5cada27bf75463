// SPDX-License-Identifier: Apache-2.0
// How many connections a flow table of some size really holds: fills one until one of 10 000 had to make room
// for others, and looks for all of them. Prints one line of JSON. Usage: flow_memory [megabytes=2048]
#include <fmt/format.h>
#include <sys/mman.h>

#include <bit>
#include <string>

#include "dataplane/flow/flow_table.h"

namespace keyrail {
namespace {

/// The n-th of a sequence of different hashes, as good as random (splitmix64 is a permutation).
uint64_t hash_of(uint64_t n) {
    n = (n + 1) * 0x9e3779b97f4a7c15;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
    n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
    return n ^ (n >> 31);
}

constexpr uint64_t kOneIn = 10'000;

int fill(uint64_t megabytes) {
    const size_t buckets = std::bit_floor((megabytes << 20) / sizeof(FlowTable::Bucket));
    const size_t bytes = buckets * sizeof(FlowTable::Bucket);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fmt::print(stderr, "flow_memory: no {} bytes of memory\n", bytes);
        return 1;
    }
    madvise(memory, bytes, MADV_HUGEPAGE);  // only so that filling it takes less time
    FlowTable table({static_cast<FlowTable::Bucket*>(memory), buckets});
    constexpr uint16_t kBlade = 1;
    constexpr uint32_t kNow = 1;
    uint64_t entered = 0, before_first = 0, found = 0;
    while (table.evicted() * kOneIn <= entered) {
        if (table.evicted() == 0) before_first = entered;
        table.insert(hash_of(entered++), Flow(kNow, kBlade, 0));
    }
    for (uint64_t n = 0; n < entered; n++) found += table.find(hash_of(n), kNow) != nullptr ? 1 : 0;
    fmt::print("{{\"bytes\":{},\"entered\":{},\"evicted\":{},\"found\":{},\"before_first\":{}}}\n", bytes,
               entered, table.evicted(), found, before_first);
    return 0;
}

}  // namespace
}  // namespace keyrail

int main(int argc, char** argv) { return keyrail::fill(argc > 1 ? std::stoull(argv[1]) : 2048); }
