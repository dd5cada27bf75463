// SPDX-License-Identifier: Apache-2.0
// A byte-coded life of a small hold table: connections, segments in any order and overlap, timers, releases.
// Beside it the plainest model there is: a map of the bytes that each connection has sent.
#include <map>
#include <vector>

#include "dataplane/bind/hold.h"

using namespace keyrail;

namespace {

constexpr uint32_t kBase = 0xffffff80;
constexpr uint32_t kStream = 256;
const std::vector<uint8_t> kBytes = [] {
    std::vector<uint8_t> bytes(kStream + 64);
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i * 37);
    return bytes;
}();

struct Model {
    std::vector<bool> seen = std::vector<bool>(kBytes.size());
    size_t segments = 0;
    [[nodiscard]] uint32_t contiguous() const {
        uint32_t n = 0;
        while (n < seen.size() && seen[n]) n++;
        return n;
    }
};

Tuple tuple(uint8_t id) {
    Tuple t;
    t.source_port = id;
    return t;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    HoldTable table(4, 24);
    std::map<uint32_t, Model> open;  // by slot
    uint64_t now = 1'000'000;
    const auto close = [&](uint32_t slot) {
        size_t released = 0;
        table.release(slot, [&](rte_mbuf*) { released++; });
        if (released != open.at(slot).segments) __builtin_trap();
        open.erase(slot);
    };
    for (size_t i = 0; i + 4 <= size; i += 4) {
        const uint8_t what = data[i] % 8, id = data[i] / 8 % 6;
        const uint32_t from = data[i + 1], length = data[i + 2] % 64;
        uint32_t slot = table.find(id % 3, tuple(id));
        if (slot != kNone && !open.contains(slot)) __builtin_trap();
        if (what == 0 && slot == kNone) {
            slot = table.open(id % 3, tuple(id), 0, kBase, now + data[i + 3] * 1000);
            if ((slot == kNone) != (open.size() == 4)) __builtin_trap();
            if (slot != kNone) open[slot] = {};
        } else if (what == 1 && slot != kNone) {
            close(slot);
        } else if (what == 2) {
            now += data[i + 3] * 500;
            table.expire(now, [&](uint32_t late) { close(late); });
            for (const auto& [s, model] : open)
                if (table.at(s).deadline_us + 256 <= now) __builtin_trap();
        } else if (what == 3 && slot != kNone) {
            table.set_deadline(slot, now + data[i + 3] * 1000);
        } else if (slot != kNone) {
            Model& model = open.at(slot);
            const bool fin = what == 7;
            if (table.add(slot, nullptr, kBase + from, Bytes(kBytes).subspan(from, length), fin) ==
                AddResult::added) {
                model.segments++;
                for (uint32_t b = from; b < from + length; b++) model.seen[b] = true;
            }
            if (table.contiguous(slot) != model.contiguous()) __builtin_trap();
            std::array<uint8_t, 512> out;
            const Bytes stream = table.assemble(slot, out);
            if (stream.size() != model.contiguous()) __builtin_trap();
            if (!std::equal(stream.begin(), stream.end(), kBytes.begin())) __builtin_trap();
        }
        if (table.in_use() != open.size()) __builtin_trap();
    }
    while (!open.empty()) close(open.begin()->first);
    if (table.held_segments() != 0) __builtin_trap();
    return 0;
}
