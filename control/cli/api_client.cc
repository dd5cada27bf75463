// SPDX-License-Identifier: Apache-2.0
// The client's side of keyraild's API.
#include "control/cli/api_client.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

#include "control/protocol/unix_socket.h"

namespace keyrail::cli {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// httplib does not say why a connection failed; errno does.
std::optional<Failure> unreachable(const fs::path& socket) {
    const int why = try_unix_socket(socket);
    if (why == 0) return std::nullopt;
    const bool forbidden = why == EACCES || why == EPERM;
    const char* advice = forbidden ? "be root, or in group keyrail (to look) and keyrail-admin (to change)"
                                   : "is it running? (--socket or KEYRAIL_SOCKET say where it is)";
    return failure(
        forbidden ? kNotAllowed : kUnreachable,
        fmt::format("cannot reach keyraild at {}: {}; {}", socket.string(), std::strerror(why), advice));
}

/// Of what HTTP says.
int exit_status(int status) {
    switch (status) {
        case 400:
            return kUsage;
        case 403:
            return kNotAllowed;
        case 404:
        case 405:
            return kNotFound;
        case 409:
        case 412:
            return kConflict;
        case 504:
            return kNotInTime;
        default:
            return kRefused;
    }
}

Failure no_answer(const fs::path& socket, httplib::Error why) {
    const bool late = why == httplib::Error::Read;
    return failure(late ? kNotInTime : kUnreachable,
                   fmt::format("keyraild at {} did not answer{}; see its log", socket.string(),
                               late ? " in time" : ": " + httplib::to_string(why)));
}

Reply read(const fs::path& socket, const httplib::Result& result) {
    if (!result) return tl::make_unexpected(no_answer(socket, result.error()));
    json body = json::parse(result->body, nullptr, false);
    if (body.is_discarded())
        return tl::make_unexpected(failure(
            kRefused, fmt::format("{}: not keyraild's answer; is this its socket?", socket.string())));
    if (result->status < 400) return body;
    Failure refused{exit_status(result->status), json::object()};
    const json error = body.is_object() ? body.value("error", json()) : json();
    if (error.is_object())
        refused.error = error;
    else
        refused.error = failure(kRefused, fmt::format("HTTP status {}", result->status)).error;
    return tl::make_unexpected(std::move(refused));
}

void prepare(httplib::Client& client, const Invocation& invocation) {
    client.set_address_family(AF_UNIX);
    client.set_read_timeout(invocation.timeout);
}

Reply request(const Invocation& invocation, const std::function<httplib::Result(httplib::Client&)>& call) {
    if (auto why = unreachable(invocation.socket)) return tl::make_unexpected(std::move(*why));
    httplib::Client client(invocation.socket.string());
    prepare(client, invocation);
    return read(invocation.socket, call(client));
}

std::string text_of(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// "FILE:LINE: what; what to do", as far as it is there.
std::string sentence(const json& error) {
    std::string text;
    if (const json at = error.value("at", json()); at.is_object()) {
        text = text_of(at, "file");
        if (const json line = at.value("line", json()); line.is_number_integer())
            text += fmt::format(":{}", line.get<int64_t>());
        if (!text.empty()) text += ": ";
    }
    const std::string message = text_of(error, "message"), fix = text_of(error, "fix");
    return text + (message.empty() ? "refused, without a reason" : message) + (fix.empty() ? "" : "; " + fix);
}

}  // namespace

Failure failure(int status, std::string_view text) {
    static constexpr const char* kCodes[] = {"done",        "refused",       "not_understood",
                                             "unreachable", "no_permission", "conflict",
                                             "not_found",   "partly",        "not_in_time"};
    const size_t end = text.find("; ");
    json error = {
        {"code", kCodes[status]}, {"message", text.substr(0, end)}, {"fix", nullptr}, {"at", nullptr}};
    if (end != std::string_view::npos) error["fix"] = text.substr(end + 2);
    return {status, std::move(error)};
}

std::string path_of(std::initializer_list<std::string_view> words) {
    std::string path;
    for (const std::string_view word : words) {
        path += '/';
        for (const char byte : word) {
            const auto code = static_cast<unsigned char>(byte);
            const bool plain = std::isalnum(code) != 0 || std::strchr("-_.~", byte) != nullptr;
            path += plain && byte != '\0' ? std::string(1, byte) : fmt::format("%{:02X}", code);
        }
    }
    return path;
}

Reply ask(const Invocation& invocation, const std::string& path) {
    return request(invocation, [&](httplib::Client& client) { return client.Get(path); });
}

Reply tell(const Invocation& invocation, const std::string& path, const json& body,
           const std::string& if_match) {
    httplib::Headers headers;
    if (!if_match.empty()) headers.emplace("If-Match", fmt::format("\"{}\"", if_match));
    return request(invocation, [&](httplib::Client& client) {
        return client.Post(path, headers, body.dump(), "application/json");
    });
}

tl::expected<std::string, Failure> fetch(const Invocation& invocation, const std::string& path) {
    if (auto why = unreachable(invocation.socket)) return tl::make_unexpected(std::move(*why));
    httplib::Client client(invocation.socket.string());
    prepare(client, invocation);
    const httplib::Result result = client.Get(path);
    if (result && result->status == 200) return result->body;
    const Reply refused = read(invocation.socket, result);
    if (!refused) return tl::make_unexpected(refused.error());
    return tl::make_unexpected(failure(kRefused, fmt::format("HTTP status {}", result->status)));
}

namespace {

/// Takes server-sent events (HTML standard section 9.2) apart, as keyraild writes them: a field a line, an
/// empty line behind each event.
class EventReader {
  public:
    using Heard = std::function<bool(const std::string& kind, const json& data)>;
    explicit EventReader(const Heard& heard) : heard_(heard) {}

    bool take(std::string_view bytes) {
        rest_ += bytes;
        size_t at = 0;
        for (size_t end = 0; (end = rest_.find('\n', at)) != std::string::npos; at = end + 1)
            if (!line(std::string_view(rest_).substr(at, end - at))) return false;
        rest_.erase(0, at);
        return true;
    }

  private:
    bool line(std::string_view text) {
        constexpr std::string_view kKind = "event: ", kData = "data: ";
        if (text.starts_with(kKind)) kind_ = text.substr(kKind.size());
        if (text.starts_with(kData)) data_ = text.substr(kData.size());
        if (!text.empty() || data_.empty()) return true;
        const json data = json::parse(std::exchange(data_, {}), nullptr, false);
        return data.is_discarded() || heard_(std::exchange(kind_, {}), data);
    }

    const Heard& heard_;
    std::string rest_, kind_, data_;
};

}  // namespace

Failure follow(const Invocation& invocation, const std::string& path,
               const std::function<bool(const std::string& kind, const json& data)>& heard) {
    constexpr std::chrono::seconds kSilence{6};  // keyraild says something every two seconds
    if (auto why = unreachable(invocation.socket)) return std::move(*why);
    httplib::Client client(invocation.socket.string());
    client.set_address_family(AF_UNIX);
    client.set_read_timeout(std::max<std::chrono::microseconds>(invocation.timeout, kSilence));
    EventReader reader(heard);
    std::string refusal;
    bool wanted = true;
    int status = 0;
    const httplib::Result result = client.Get(
        path, {{"Accept", "text/event-stream"}},
        [&](const httplib::Response& response) {
            status = response.status;
            return true;
        },
        [&](const char* bytes, size_t size) {
            if (status >= 400) refusal.append(bytes, size);
            wanted = status >= 400 || reader.take({bytes, size});
            return wanted;
        });
    if (!wanted) return {kDone, json::object()};
    if (status >= 400) {
        const json body = json::parse(refusal, nullptr, false);
        if (body.is_object() && body.contains("error")) return {exit_status(status), body.at("error")};
    }
    return failure(kUnreachable, fmt::format("keyraild at {} says no more; is it still running?",
                                             invocation.socket.string()));
}

int complain(const Invocation& invocation, const Failure& why) {
    if (invocation.json) {
        fmt::print("{}\n", json{{"error", why.error}}.dump(2, ' ', false, json::error_handler_t::replace));
        return why.status;
    }
    const json mistakes = why.error.value("mistakes", json::array());
    for (const json& mistake : mistakes) fmt::print(stderr, "{}\n", sentence(mistake));
    fmt::print(stderr, "keyrail: {}\n", sentence(why.error));
    return why.status;
}

int complain(const Invocation& invocation, int status, const std::string& text) {
    return complain(invocation, failure(status, text));
}

int print(const Invocation& invocation, const Reply& reply, const std::function<void(const json&)>& show) {
    if (!reply) return complain(invocation, reply.error());
    if (invocation.json)
        fmt::print("{}\n", reply->dump(2));
    else
        show(*reply);
    return kDone;
}

}  // namespace keyrail::cli
