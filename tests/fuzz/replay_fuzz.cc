// SPDX-License-Identifier: Apache-2.0
// Any file as a capture: keyrail-replay reads it to its end, and writes a line of JSON for what it reports.
#include "dataplane/replay/capture.h"
#include "dataplane/replay/report.h"
#include "tests/support/memory_file.h"

using namespace keyrail;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const test::MemoryFile file({data, size});
    auto capture = replay::Capture::open(file.path());
    if (!capture) return 0;
    const auto report = [&](const replay::Found& found) {
        if (found.bytes > kHelloMax || found.segments == 0) __builtin_trap();
        if (replay::json_line(found).empty()) __builtin_trap();
    };
    replay::Tcp tcp(report,
                    {.streams = 8, .holds = 4, .segments = 64});  // so small that it is full now and then
    while (const auto frame = capture->next()) tcp.frame(*frame);
    tcp.finish();
    return 0;
}
