// SPDX-License-Identifier: Apache-2.0
// Any file as a dispatcher's profile: it is read, or refused with a reason.
#include "dataplane/profile/profile.h"
#include "tests/support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const keyrail::test::MemoryFile file({data, size});
    const auto profile = keyrail::read_profile(file.path());
    if (!profile && profile.error().message.empty()) __builtin_trap();
    return 0;
}
