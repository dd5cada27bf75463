// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/report.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "dataplane/core/describe.h"

namespace keyrail::replay {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(Bytes bytes) { return fmt::format("{:02x}", fmt::join(bytes, "")); }
std::string text(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

std::string endpoint(const Address& address, uint16_t port) {
    constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char buffer[INET6_ADDRSTRLEN];
    if (std::equal(kMapped.begin(), kMapped.end(), address.begin()))
        return fmt::format("{}:{}", inet_ntop(AF_INET, &address[12], buffer, sizeof buffer), port);
    return fmt::format("[{}]:{}", inet_ntop(AF_INET6, address.data(), buffer, sizeof buffer), port);
}

/// What a service with the usual limits makes of it; here it was read whatever its length.
Reason usual_reason(const Found& found) {
    constexpr HelloLimits kUsual;
    const HelloResult& result = found.result;
    const bool too_long = result.size > kUsual.bytes || result.records > kUsual.records;
    const HelloStatus status = too_long ? HelloStatus::too_long : result.status;
    return unnamed_reason(status, found.hello);
}

std::string reason(const Found& found) {
    if (found.result.status == HelloStatus::malformed)
        return fmt::format("malformed at offset {}", found.result.offset);
    return std::string(found.given_up);
}

}  // namespace

std::string json_line(const Found& found, const std::optional<Steered>& steered) {
    const ClientHello& hello = found.hello;
    Json alpn = Json::array(), identities = Json::array();
    each_alpn_protocol(hello, [&](Bytes protocol) { alpn.push_back(text(protocol)); });
    each_psk_identity(hello, [&](Bytes identity) { identities.push_back(hex(identity)); });
    Json line{
        {"frame", found.frame},
        {"src", endpoint(found.tuple.source, found.tuple.source_port)},
        {"dst", endpoint(found.tuple.destination, found.tuple.destination_port)},
        {"complete", found.given_up.empty()},
        {"version", text_of(TlsVersion{hello.version})},
        {"sni", text(hello.server_name)},
        {"alpn", alpn},
        {"session_id", hex(hello.session_id)},
        {"psk_identities", identities},
        {"ticket_key_name", hex(hello.ticket_key_name())},
        {"early_data", hello.early_data},
        {"hello_bytes", found.bytes},
        {"segments", found.segments},
        {"records", found.result.records},
        {"verdict", kReasonTexts[static_cast<size_t>(steered ? steered->reason : usual_reason(found))].name},
    };
    if (steered && steered->blade != 0) line["blade"] = steered->blade;
    if (steered && steered->move_from != 0) line["move_from"] = steered->move_from;
    if (const std::string why = reason(found); !why.empty()) line["reason"] = why;
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace keyrail::replay
