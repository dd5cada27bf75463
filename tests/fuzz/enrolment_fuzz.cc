// SPDX-License-Identifier: Apache-2.0
// What strangers send and files say: tokens, certificate requests, the enrolment file. The first byte
// chooses.
#include <stdlib.h>

#include <cstring>

#include "control/daemon/membership/enrolment.h"
#include "control/pki/ca.h"
#include "control/pki/join_token.h"
#include "tests/support/memory_file.h"

namespace {

using namespace keyrail;

/// A chassis CA that outlives all inputs.
const pki::CaFiles& authority() {
    static const pki::CaFiles files = [] {
        static char name[] = "/dev/shm/keyrail-fuzz-XXXXXX";
        if (mkdtemp(name) == nullptr || !pki::init_chassis(name, "fuzz")) __builtin_trap();
        atexit([] { std::filesystem::remove_all(name); });
        return pki::CaFiles{std::filesystem::path(name) / "ca.pem", std::filesystem::path(name) / "ca.key"};
    }();
    return files;
}

void read_token(std::string_view text) {
    const auto token = JoinToken::parse(text);
    if (!token) return;
    const auto again = JoinToken::parse(token->text());
    if (!again || again->text() != token->text()) __builtin_trap();
}

void sign(std::string_view request) {
    const auto issued = pki::certify_request(authority(), request, Identity::of_blade(1),
                                             pki::Validity::from_now(std::chrono::hours(1)));
    if (!issued && issued.error().message.empty()) __builtin_trap();
}

void load(const uint8_t* data, size_t size) {
    const test::MemoryFile file({data, size});
    Enrolment enrolment(file.path());
    if (!enrolment.load()) return;
    Config config;
    config.pools["web"] = {1};
    config.blades[1].id = 1;
    enrolment.merge(config);
    for (const auto& [id, blade] : config.blades)
        if (id != blade.id) __builtin_trap();
    if (enrolment.check(std::string(JoinToken::kSecretSize, 'x'), {}))
        __builtin_trap();  // nobody made this one
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
    if (data[0] % 3 == 0) read_token(text);
    if (data[0] % 3 == 1) sign(text);
    if (data[0] % 3 == 2) load(data + 1, size - 1);
    return 0;
}
