// SPDX-License-Identifier: Apache-2.0
#include "control/agent/load.h"

#include <array>
#include <fstream>

namespace keyrail {

uint32_t LoadMeter::measure() {
    // proc(5): cpu user nice system idle iowait irq softirq steal
    std::array<uint64_t, 8> ticks{};
    std::ifstream file(file_);
    std::string word;
    file >> word;
    for (uint64_t& tick : ticks) file >> tick;
    if (!file || word != "cpu") return last_;
    uint64_t all = 0;
    for (const uint64_t tick : ticks) all += tick;
    // What has a higher nice value (a backup, a build) gives way to a server: it is no load.
    const uint64_t busy = all - ticks[1] - ticks[3] - ticks[4];
    if (all > all_ && busy >= busy_) last_ = static_cast<uint32_t>((busy - busy_) * 65535 / (all - all_));
    busy_ = busy;
    all_ = all;
    return last_;
}

}  // namespace keyrail
