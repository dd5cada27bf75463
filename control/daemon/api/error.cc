// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/error.h"

#include <charconv>

namespace keyrail {

using nlohmann::json;

namespace {

/// Takes "what; what to do" apart; what to do may be missing.
void put_text(json& error, std::string_view text) {
    const size_t end = text.find("; ");
    error["message"] = text.substr(0, end);
    if (end != std::string_view::npos) error["fix"] = text.substr(end + 2);
}

}  // namespace

std::string_view code_of(int status) {
    switch (status) {
        case 403:
            return "no_permission";
        case 404:
            return "not_found";
        case 405:
            return "method_not_allowed";
        case 409:
            return "conflict";
        case 412:
            return "other_revision";
        case 413:
        case 431:
            return "too_large";
        case 422:
            return "refused";
        case 503:
            return "too_many";
        case 504:
            return "not_in_time";
        default:
            return status < 500 ? "not_understood" : "failed";
    }
}

json error_json(int status, std::string_view text) {
    json error = {{"code", code_of(status)}, {"message", ""}, {"fix", nullptr}, {"at", nullptr}};
    put_text(error, text);
    return {{"error", error}};
}

json mistake_json(std::string_view text) {
    json mistake = {{"message", ""}, {"fix", nullptr}, {"at", nullptr}};
    const size_t place = text.find(": ");
    const std::string_view where = text.substr(0, place);
    if (place != std::string_view::npos) {
        json at = {{"file", where}, {"line", nullptr}};
        const size_t colon = where.rfind(':');
        uint32_t line = 0;
        const char* const end = where.data() + where.size();
        if (colon != std::string_view::npos &&
            std::from_chars(where.data() + colon + 1, end, line).ptr == end) {
            at["file"] = where.substr(0, colon);
            at["line"] = line;
        }
        mistake["at"] = std::move(at);
        text.remove_prefix(place + 2);
    }
    put_text(mistake, text);
    return mistake;
}

}  // namespace keyrail
