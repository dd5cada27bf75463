// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/config/check_keys.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "control/protocol/toml_table.h"
#include "dataplane/common/content_limits.h"

namespace keyrail {

using namespace std::chrono_literals;
using std::chrono::microseconds;

namespace {

constexpr microseconds kShortest = 50ms, kLongest = 1h;
constexpr size_t kMaxRanges = 32, kMaxPins = 16, kMaxPath = 1024;

template <typename T>
void read_word(TomlTable& table, ConfigErrors& errors, const char* key,
               const std::vector<std::pair<std::string_view, T>>& known, T& value) {
    const auto word = table.text(key, Need::optional);
    if (!word) return;
    std::vector<std::string_view> names;
    for (const auto& [name, meant] : known) {
        if (name == word->value) value = meant;
        names.push_back(name);
    }
    if (std::ranges::find(names, word->value) == names.end())
        errors.add(word->line, "'{}' is '{}'; write one of: {}", key, word->value, fmt::join(names, ", "));
}

void read_wait(TomlTable& table, const char* key, microseconds least, microseconds most,
               microseconds& value) {
    if (const auto read = table.duration(key, least, most, Need::optional)) value = read->value;
}

/// Control characters and spaces would make another request of it (RFC 9112 section 3).
bool is_plain(std::string_view text) {
    return std::ranges::all_of(text, [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

void read_request(CheckConfig& check, TomlTable& table, ConfigErrors& errors) {
    if (const auto path = table.text("path", Need::optional)) {
        check.path = path->value;
        if (!check.path.starts_with('/') || check.path.size() > kMaxPath || !is_plain(check.path))
            errors.add(path->line, "'path' is '{}'; write one like \"/healthz\"", path->value);
    }
    if (const auto host = table.text("host", Need::optional)) {
        check.host = host->value;
        if (check.host.size() > kMaxServerName || !is_plain(check.host))
            errors.add(host->line, "'host' is '{}'; write a name such as \"www.example.com\"", host->value);
    }
    if (const auto expect = table.text("expect", Need::optional)) {
        if (auto ranges = parse_status_ranges(expect->value))
            check.expect = std::move(*ranges);
        else
            errors.add(expect->line, "'expect': {}", ranges.error().message);
    }
}

void read_names(CheckConfig& check, TomlTable& table, ConfigErrors& errors) {
    if (const auto sni = table.text("sni", Need::optional)) {
        check.sni = sni->value;
        if (check.sni.size() > kMaxServerName || !is_plain(check.sni) || check.sni.starts_with('*'))
            errors.add(sni->line, "'sni' is '{}'; write a name such as \"www.example.com\"", sni->value);
    }
    if (const auto alpn = table.text("alpn", Need::optional)) {
        check.alpn = alpn->value;
        if (check.alpn.size() > kMaxProtocol)
            errors.add(alpn->line, "'alpn' has {} bytes; write a protocol of 1 to {}, such as \"h2\"",
                       check.alpn.size(), kMaxProtocol);
        if (check.type == CheckType::https && check.alpn != "http/1.1")
            errors.add(alpn->line,
                       "'alpn' is '{}', but an https check speaks HTTP/1.1; remove it, or type = \"tls\"",
                       check.alpn);
    }
}

void read_verify(CheckConfig& check, TomlTable& table, ConfigErrors& errors,
                 const std::filesystem::path& folder) {
    if (const auto ca = table.text("ca", Need::optional)) {
        check.ca = (std::filesystem::absolute(folder) / ca->value).lexically_normal();
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(check.ca, ignored))
            errors.add(ca->line, "'ca': there is no file {}", check.ca.string());
    }
    const auto verify = table.text("verify", Need::optional);
    if (!verify || verify->value == "ca") return;
    constexpr std::string_view kPin = "pin:";
    if (verify->value == "none") {
        check.verify = CheckVerify::none;
    } else if (verify->value.starts_with(kPin)) {
        check.verify = CheckVerify::pin;
        for (std::string_view rest = std::string_view(verify->value).substr(kPin.size()); !rest.empty();) {
            const size_t end = std::min(rest.find(','), rest.size());
            const auto pin = parse_pin(rest.substr(0, end));
            if (!pin || check.pins.size() == kMaxPins)
                return errors.add(verify->line, "'verify': {}",
                                  pin ? fmt::format("more than {} pins", kMaxPins) : pin.error().message);
            check.pins.push_back(*pin);
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
    }
    if (check.verify == CheckVerify::ca || (check.verify == CheckVerify::pin && check.pins.empty()))
        errors.add(verify->line, "'verify' is '{}'; write \"ca\", \"none\" or \"pin:sha256/…\"",
                   verify->value);
}

/// "5s..5min", or one duration: it does not grow.
void read_hold_down(CheckConfig& check, TomlTable& table, ConfigErrors& errors) {
    const auto written = table.text("hold_down", Need::optional);
    if (!written) return;
    const std::string_view text = written->value;
    const size_t dots = text.find("..");
    const auto first = parse_duration(text.substr(0, dots));
    const auto last = dots == std::string_view::npos ? first : parse_duration(text.substr(dots + 2));
    if (!first || !last || *last < *first || *last > 24h)
        return errors.add(written->line,
                          "'hold_down' is '{}'; write a duration, or two such as \"5s..5min\", at most 24h",
                          written->value);
    check.hold_down = *first;
    check.hold_down_max = *last;
}

void read_fail_open(CheckConfig& check, TomlTable& table, ConfigErrors& errors) {
    const auto written = table.text("fail_open", Need::optional);
    if (!written) return;
    const std::string& text = written->value;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), check.fail_open);
    if (read.ec != std::errc() || std::string_view(read.ptr) != "%" || check.fail_open > 100)
        errors.add(written->line, "'fail_open' is '{}'; write \"0%\" to \"100%\"", text);
}

void read_times(CheckConfig& check, TomlTable& table, ConfigErrors& errors) {
    read_wait(table, "interval", kShortest, kLongest, check.interval);
    read_wait(table, "fast", kShortest, kLongest, check.fast);
    read_wait(table, "down", kShortest, kLongest, check.down);
    read_wait(table, "timeout", kShortest, 60s, check.timeout);
    read_wait(table, "slow_start", 0us, kLongest, check.slow_start);
    read_wait(table, "warn_expiry", 0us, 24h * 365, check.warn_expiry);
    if (const auto fall = table.integer("fall", 1, 100, Need::optional))
        check.fall = static_cast<uint32_t>(fall->value);
    if (const auto rise = table.integer("rise", 1, 100, Need::optional))
        check.rise = static_cast<uint32_t>(rise->value);
    if (const auto jitter = table.text("jitter", Need::optional)) {
        const std::string& text = jitter->value;
        const auto read = std::from_chars(text.data(), text.data() + text.size(), check.jitter);
        if (read.ec != std::errc() || std::string_view(read.ptr) != "%" || check.jitter > 50)
            errors.add(jitter->line, "'jitter' is '{}'; write \"0%\" to \"50%\"", text);
    }
    read_hold_down(check, table, errors);
}

}  // namespace

const char* text_of(CheckType type) {
    return type == CheckType::tcp ? "tcp" : type == CheckType::tls ? "tls" : "https";
}

const char* text_of(CheckVia via) { return via == CheckVia::vip ? "vip" : "backplane"; }

Result<std::vector<StatusRange>> parse_status_ranges(std::string_view text) {
    std::vector<StatusRange> ranges;
    const auto number = [](std::string_view digits) -> std::optional<uint16_t> {
        uint16_t value = 0;
        const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return std::nullopt;
        return value >= 100 && value <= 599 ? std::optional(value) : std::nullopt;
    };
    for (std::string_view rest = text;;) {
        const size_t end = std::min(rest.find(','), rest.size());
        const std::string_view one = rest.substr(0, end);
        const size_t dash = one.find('-');
        const auto from = number(one.substr(0, dash));
        const auto to = dash == std::string_view::npos ? from : number(one.substr(dash + 1));
        if (!from || !to || *to < *from || ranges.size() == kMaxRanges)
            return fail("'{}' is no list of statuses; write \"200-399\" or \"200,204\"", text);
        ranges.push_back({*from, *to});
        if (end == rest.size()) return ranges;
        rest.remove_prefix(end + 1);
    }
}

Result<std::string> parse_pin(std::string_view text) {
    constexpr std::string_view kHash = "sha256/";
    constexpr size_t kEncoded = 44, kSize = 32;
    std::array<unsigned char, kEncoded> bytes{};
    const std::string_view encoded = text.substr(std::min(kHash.size(), text.size()));
    const bool good = text.starts_with(kHash) && encoded.size() == kEncoded && encoded.back() == '=' &&
                      EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(encoded.data()),
                                      static_cast<int>(encoded.size())) == kSize + 1;
    if (!good)
        return fail(
            "'{}' is no pin; write \"pin:sha256/\" and the base64 of: openssl x509 -in FILE -pubkey -noout | "
            "openssl pkey -pubin -outform der | openssl sha256 -binary",
            text);
    return std::string(reinterpret_cast<const char*>(bytes.data()), kSize);
}

CheckConfig read_check(TomlTable& table, ConfigErrors& errors, const std::filesystem::path& folder) {
    CheckConfig check;
    read_word<CheckType>(table, errors, "type",
                         {{"tcp", CheckType::tcp}, {"tls", CheckType::tls}, {"https", CheckType::https}},
                         check.type);
    read_word<CheckVia>(table, errors, "via", {{"vip", CheckVia::vip}, {"backplane", CheckVia::backplane}},
                        check.via);
    read_names(check, table, errors);
    read_request(check, table, errors);
    read_verify(check, table, errors, folder);
    if (const auto resume = table.boolean("resume", Need::optional)) check.resume = resume->value;
    read_times(check, table, errors);
    read_fail_open(check, table, errors);
    table.finish();
    return check;
}

}  // namespace keyrail
