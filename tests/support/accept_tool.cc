// SPDX-License-Identifier: Apache-2.0
// The accept program by hand, for tests that are not C++:
//   attach INTERFACE BPFFS KEY0|- KEY1|- PORT ADDRESS... | counters BPFFS | clock BPFFS AHEAD_MS | detach
//   BPFFS
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "control/agent/accept_program.h"

namespace {

using namespace keyrail;

int fail_with(const std::string& message) {
    fmt::print(stderr, "accept_tool: {}\n", message);
    return 1;
}

std::optional<std::array<uint8_t, 16>> key_of(const std::string& text) {
    if (text == "-") return std::nullopt;
    std::array<uint8_t, 16> key{};
    for (size_t i = 0; i < key.size(); i++)
        key[i] = static_cast<uint8_t>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return key;
}

int attach(const std::vector<std::string>& words) {
    auto program = AcceptProgram::attach(words.at(1), words.at(2));
    if (!program) return fail_with(program.error().message);
    std::set<HostPort> services;
    for (size_t i = 6; i < words.size(); i++)
        services.insert({*parse_ip(words[i]), static_cast<uint16_t>(std::stoul(words.at(5)))});
    auto set = program->set_keys({key_of(words.at(3)), key_of(words.at(4))});
    if (set) set = program->set_services(services);
    return set ? 0 : fail_with(set.error().message);
}

/// From the pinned map: the program that runs stays as it is.
int counters(const std::vector<std::string>& words) {
    const int map = bpf_obj_get((words.at(1) + "/accept_stats").c_str());
    if (map < 0) return fail_with(words.at(1) + ": no counters are pinned there");
    std::vector<uint64_t> per_cpu(static_cast<size_t>(std::max(1, libbpf_num_possible_cpus())));
    const auto count = [&](uint32_t reason) {
        if (bpf_map_lookup_elem(map, &reason, per_cpu.data()) != 0) return uint64_t{0};
        return std::accumulate(per_cpu.begin(), per_cpu.end(), uint64_t{0});
    };
#define X(NAME, name, text) fmt::print(#name "={} ", count(KR_ACCEPT_##NAME));
    KR_ACCEPT_REASON_LIST(X)
#undef X
    fmt::print("\n");
    close(map);
    return 0;
}

/// This machine's CLOCK_BOOTTIME and so much are the dispatcher's clock.
int set_clock(const std::vector<std::string>& words) {
    const int map = bpf_obj_get((words.at(1) + "/cookie_clock").c_str());
    const uint32_t zero = 0;
    const kr_accept_clock clock{.ahead_ms = std::stoll(words.at(2)), .set = 1, .unused = 0};
    const bool good = map >= 0 && bpf_map_update_elem(map, &zero, &clock, BPF_ANY) == 0;
    if (map >= 0) close(map);
    return good ? 0 : fail_with(words.at(1) + ": no clock is pinned there");
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() >= 6 && words[0] == "attach") return attach(words);
    if (words.size() == 2 && words[0] == "counters") return counters(words);
    if (words.size() == 3 && words[0] == "clock") return set_clock(words);
    if (words.size() != 2 || words[0] != "detach") return fail_with("usage: see the source");
    const auto detached = AcceptProgram::detach(words[1]);
    return detached ? 0 : fail_with(detached.error().message);
}
