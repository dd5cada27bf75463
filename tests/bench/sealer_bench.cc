// SPDX-License-Identifier: Apache-2.0
// What sealing a session for the repository costs the agent: in a burst, and one by one.
#include <benchmark/benchmark.h>

#include <vector>

#include "control/repository/sealer.h"

namespace {

constexpr size_t kRecord = 320;   // a session without client certificate, as a message
constexpr size_t kContext = 100;  // what is authenticated with it

void seal_burst(benchmark::State& state) {
    const auto size = static_cast<size_t>(state.range(0));
    const keyrail::SealingKey key{keyrail::PoolKeyBytes{}};
    std::vector<keyrail::SealingJob> jobs(size);
    for (auto _ : state) {
        state.PauseTiming();
        for (auto& job : jobs) job = {&key, std::string(kContext, 'c'), std::string(kRecord, 'r')};
        state.ResumeTiming();
        if (!keyrail::seal(jobs)) state.SkipWithError("sealing failed");
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(seal_burst)->Arg(1)->Arg(16)->Arg(128);

void unseal_one(benchmark::State& state) {
    const keyrail::SealingKey key{keyrail::PoolKeyBytes{}};
    keyrail::SealingJob job{&key, std::string(kContext, 'c'), std::string(kRecord, 'r')};
    if (!keyrail::seal({&job, 1})) state.SkipWithError("sealing failed");
    for (auto _ : state) benchmark::DoNotOptimize(keyrail::unseal(key, job.context, job.text));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(unseal_one);

}  // namespace

BENCHMARK_MAIN();
