// SPDX-License-Identifier: Apache-2.0
// API: the page for people (page/). Its files are in keyraild; it asks for nothing from elsewhere, and the
// browser is told to allow nothing else.
#include <fmt/format.h>

#include <algorithm>

#include "control/daemon/api/api.h"
#include "control/daemon/api/page_files.h"

namespace keyrail {

namespace {

constexpr const char* kBounds =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n";

ApiReply file_reply(std::string_view name) {
    const auto file = std::ranges::find(page_files(), name, &PageFile::name);
    if (file == page_files().end()) return error_reply(404, fmt::format("the page has no file {}", name));
    return {200, std::string(file->text), std::string(file->type), "", kBounds};
}

asio::awaitable<ApiReply> page(Daemon&, ApiCall) { co_return file_reply("index.html"); }

asio::awaitable<ApiReply> page_file(Daemon&, ApiCall call) { co_return file_reply(call.words[0]); }

/// Who wrote only the address.
asio::awaitable<ApiReply> to_page(Daemon&, ApiCall) {
    co_return ApiReply{302, "{}", "application/json", "", "Location: /ui\r\n"};
}

}  // namespace

std::span<const ApiRoute> page_routes() {
    static constexpr std::array kRoutes{ApiRoute{"GET", "/", to_page}, ApiRoute{"GET", "/ui", page},
                                        ApiRoute{"GET", "/ui/*", page_file}};
    return kRoutes;
}

}  // namespace keyrail
