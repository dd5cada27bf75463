// SPDX-License-Identifier: Apache-2.0
// [pool.check] of the configuration: how keyraild finds out whether a blade serves (daemon/checks/).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/common/result.h"

namespace keyrail {

class ConfigErrors;
class TomlTable;

enum class CheckType : uint8_t { tcp, tls, https };
enum class CheckVia : uint8_t {
    vip,        // to the VIP, on that blade: as clients come
    backplane,  // to the blade's own address
};
enum class CheckVerify : uint8_t { none, ca, pin };

struct StatusRange {
    uint16_t from = 200, to = 399;
    bool operator==(const StatusRange&) const = default;
};

struct CheckConfig {
    CheckType type = CheckType::tls;
    CheckVia via = CheckVia::vip;
    std::string sni;  // "": the most specific one that the service has routes for, else none
    std::string alpn;
    std::string path = "/", host;  // of an HTTP request; host "": the SNI, else the VIP
    std::vector<StatusRange> expect = {StatusRange{}};
    CheckVerify verify = CheckVerify::ca;
    std::vector<std::string> pins;  // SHA-256 of a SubjectPublicKeyInfo, 32 bytes (RFC 7469 section 2.4)
    std::filesystem::path ca;       // "": those that the system trusts
    std::chrono::microseconds warn_expiry = std::chrono::hours(14 * 24);
    bool resume = true;  // every second check resumes the session of the one before
    std::chrono::microseconds interval{250'000}, fast{100'000}, down{2'000'000}, timeout{250'000};
    uint32_t fall = 2, rise = 3;
    uint32_t jitter = 10;                                  // percent of each wait
    std::chrono::microseconds slow_start{30'000'000};      // from a tenth of its share to all of it
    std::chrono::microseconds hold_down{5'000'000};        // a blade that was out stays out so long, at least
    std::chrono::microseconds hold_down_max{300'000'000};  // doubles with each flap, up to this
    uint32_t fail_open = 0;  // percent: fewer healthy blades than that, and checks take nobody out

    bool operator==(const CheckConfig&) const = default;
};

const char* text_of(CheckType type);
const char* text_of(CheckVia via);

/// "200", "200-399", "200,204,301-302".
Result<std::vector<StatusRange>> parse_status_ranges(std::string_view text);
/// "sha256/<44 characters of base64>": 32 bytes.
Result<std::string> parse_pin(std::string_view text);

/// Of one pool. Paths are relative to `folder`.
CheckConfig read_check(TomlTable& table, ConfigErrors& errors, const std::filesystem::path& folder);

}  // namespace keyrail
