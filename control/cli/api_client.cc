// SPDX-License-Identifier: Apache-2.0
// The client's side of keyraild's API.
#include "control/cli/api_client.h"

#include <httplib.h>

#include <cstring>

#include "control/protocol/unix_socket.h"

namespace keyrail::cli {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// httplib does not say why a connection failed; errno does.
Result<void> reachable(const fs::path& socket) {
    const int why = try_unix_socket(socket);
    if (why == 0) return {};
    const char* advice = why == EACCES || why == EPERM
                             ? "run as root"
                             : "is it running? (--socket or KEYRAIL_SOCKET say where it is)";
    return fail("cannot reach keyraild at {}: {}; {}", socket.string(), std::strerror(why), advice);
}

Result<json> read(const fs::path& socket, const httplib::Result& result) {
    if (!result)
        return fail("keyraild at {} did not answer: {}; see its log", socket.string(),
                    httplib::to_string(result.error()));
    json body = json::parse(result->body, nullptr, false);
    if (body.is_discarded()) return fail("{}: not keyraild's answer; is this its socket?", socket.string());
    if (result->status >= 400)
        return fail("{}", body.is_object() ? body.value("error", "HTTP error") : std::string("HTTP error"));
    return body;
}

Result<json> request(const fs::path& socket, const std::function<httplib::Result(httplib::Client&)>& call) {
    if (auto there = reachable(socket); !there) return tl::make_unexpected(there.error());
    httplib::Client client(socket.string());
    client.set_address_family(AF_UNIX);
    client.set_read_timeout(std::chrono::seconds(10));
    return read(socket, call(client));
}

}  // namespace

Result<json> ask(const fs::path& socket, const std::string& path) {
    return request(socket, [&](httplib::Client& client) { return client.Get(path); });
}

Result<json> tell(const fs::path& socket, const std::string& path, const json& body) {
    return request(
        socket, [&](httplib::Client& client) { return client.Post(path, body.dump(), "application/json"); });
}

int print(const Invocation& invocation, const Result<json>& reply,
          const std::function<void(const json&)>& show) {
    if (!reply) return complain(reply.error().message);
    if (invocation.json)
        fmt::print("{}\n", reply->dump(2));
    else
        show(*reply);
    return kOk;
}

}  // namespace keyrail::cli
