// SPDX-License-Identifier: Apache-2.0
// Cost of one store operation for a TLS worker. Targets: put, take, copy 1 us; a name that is not here 1 us.
#include <benchmark/benchmark.h>

#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::fill;
using testing::name_of;
using testing::TempStore;

constexpr uint64_t kSessions = 50000;

void fill_store(TempStore& store, uint16_t size) {
    SessionRecord record;
    for (uint64_t i = 0; i < kSessions; i++) {
        fill(record, i, size);
        store->put(record);
    }
}

void put_take(benchmark::State& state) {
    TempStore store(64 << 20);
    const auto size = static_cast<uint16_t>(state.range(0));
    fill_store(store, size);
    SessionRecord record, out;
    fill(record, kSessions + 1, size);
    for (auto step : state) {
        store->put(record);
        benchmark::DoNotOptimize(store->take(record.name, out));
    }
}
BENCHMARK(put_take)->Arg(160)->Arg(1000)->Arg(8192);

void put_when_full(benchmark::State& state) {
    TempStore store(4 << 20);
    SessionRecord record;
    fill(record, 1, 160);
    uint64_t number = 0;
    for (auto step : state) {
        record.name = name_of(number++ * 0x9e3779b97f4a7c15);
        store->put(record);
    }
}
BENCHMARK(put_when_full);

void copy(benchmark::State& state) {
    TempStore store(64 << 20);
    const auto size = static_cast<uint16_t>(state.range(0));
    fill_store(store, size);
    SessionRecord out;
    uint64_t number = 0;
    for (auto step : state) benchmark::DoNotOptimize(store->copy(name_of(number++ * 7919 % kSessions), out));
}
BENCHMARK(copy)->Arg(160)->Arg(1000);

void foreign_miss(benchmark::State& state) {
    TempStore store(64 << 20);
    fill_store(store, 160);
    SessionRecord out;
    uint64_t number = kSessions;
    for (auto step : state) benchmark::DoNotOptimize(store->resume(name_of(number++), 0x0304, 5000, out));
}
BENCHMARK(foreign_miss);

}  // namespace
}  // namespace keyrail

BENCHMARK_MAIN();
