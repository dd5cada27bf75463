// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/http_reply.h"

#include <fmt/format.h>

#include "control/daemon/api/error.h"

namespace keyrail {

namespace {

std::string_view phrase_of(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 302:
            return "Found";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 409:
            return "Conflict";
        case 411:
            return "Length Required";
        case 412:
            return "Precondition Failed";
        case 413:
            return "Content Too Large";
        case 422:
            return "Unprocessable Content";
        case 431:
            return "Request Header Fields Too Large";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return status < 500 ? "Refused" : "Internal Server Error";
    }
}

}  // namespace

ApiReply failure(int status, std::string_view text) {
    return {status, error_json(status, text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

std::string http_text(const ApiReply& reply, bool with_body, bool reads_only) {
    const bool text = reply.type != "application/octet-stream";
    const std::string body = !text || reply.body.ends_with('\n') ? reply.body : reply.body + '\n';
    const std::string allow =
        reply.status == 405 ? fmt::format("Allow: {}\r\n", reads_only ? "GET, HEAD" : "GET, HEAD, POST") : "";
    const std::string etag = reply.etag.empty() ? "" : fmt::format("ETag: \"{}\"\r\n", reply.etag);
    return fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}{}{}"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n{}",
        reply.status, phrase_of(reply.status), reply.type, body.size(), allow, etag, reply.fields,
        with_body ? body : "");
}

}  // namespace keyrail
