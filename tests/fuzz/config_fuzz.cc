// SPDX-License-Identifier: Apache-2.0
// Any file as keyraild's configuration: it is read, or refused with at least one mistake.
#include "control/daemon/config/config.h"
#include "tests/support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const keyrail::test::MemoryFile file({data, size});
    const auto config = keyrail::read_config(file.path());
    if (!config && config.error().empty()) __builtin_trap();
    return 0;
}
