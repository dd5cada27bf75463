// SPDX-License-Identifier: Apache-2.0
// Whatever comes to keyraild's HTTP sockets: bounded, and the same however it is cut.
#include "control/daemon/api/http_request.h"

#include <cstdlib>

using keyrail::HttpRequest;

namespace {

void check(bool good) {
    if (!good) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const bool reads_only = (data[0] & 1) != 0;
    const size_t step = size_t{data[1]} + 1;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
    HttpRequest whole(reads_only), cut(reads_only);
    const auto state = whole.take(bytes);
    auto last = HttpRequest::State::more;
    for (size_t at = 0; at < bytes.size() && last == HttpRequest::State::more; at += step) {
        last = cut.take(bytes.substr(at, step));
        check(cut.size() <= HttpRequest::kMaxHead + HttpRequest::kMaxBody);
    }
    check(state == last);
    if (state == HttpRequest::State::whole) {
        check(whole.path() == cut.path() && whole.body() == cut.body() && whole.method() == cut.method());
        check(whole.path().starts_with('/') && (!reads_only || whole.method() != "POST"));
    }
    if (state == HttpRequest::State::refused) check(whole.status() >= 400 && !whole.why().empty());
    return 0;
}
