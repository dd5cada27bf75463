// SPDX-License-Identifier: Apache-2.0
#include "control/agent/config.h"

#include <net/if.h>

#include "control/protocol/event_loop.h"
#include "control/protocol/toml_table.h"
#include "control/store/store.h"

namespace keyrail {

namespace {

constexpr int64_t kDefaultStoreMb = 64;
constexpr int64_t kMaxStoreMb = 65536;

HostPort address(TomlTable& table, std::string_view key, ConfigErrors& errors) {
    const auto written = table.text(key, Need::required);
    if (!written) return {};
    auto parsed = parse_host_port(written->value);
    if (!parsed) {
        errors.add(written->line, "'{}': {}", key, parsed.error().message);
        return {};
    }
    return *parsed;
}

/// A file that is there; relative paths count from the configuration's folder.
std::filesystem::path existing(TomlTable& table, std::string_view key, const std::filesystem::path& folder,
                               ConfigErrors& errors) {
    const auto written = table.text(key, Need::required);
    if (!written) return {};
    const std::filesystem::path path = folder / written->value;
    std::error_code error;
    if (!std::filesystem::exists(path, error))
        errors.add(written->line,
                   "'{}': there is no {}; make it with 'keyrail chassis init' and 'keyrail blade certify'",
                   key, path.string());
    return path;
}

std::string interface_name(TomlTable& table, ConfigErrors& errors) {
    const auto written = table.text("interface", Need::required);
    if (!written) return {};
    if (written->value.size() >= IF_NAMESIZE)
        errors.add(written->line, "'interface' is longer than {} characters; see 'ip link'", IF_NAMESIZE - 1);
    return written->value;
}

std::string absolute(TomlTable& table, std::string_view key, const char* otherwise, ConfigErrors& errors) {
    const auto written = table.text(key, Need::optional);
    if (!written) return otherwise;
    if (written->value.front() != '/') errors.add(written->line, "'{}' must be an absolute path", key);
    return written->value;
}

void read_blade(TomlTable& table, const std::filesystem::path& folder, ConfigErrors& errors,
                AgentConfig& config) {
    if (const auto id = table.integer("id", BladeId::kMin, BladeId::kMax, Need::required))
        config.id = BladeId::or_none(static_cast<uint64_t>(id->value));
    config.control = address(table, "control", errors);
    config.listen = address(table, "listen", errors);
    config.interface = interface_name(table, errors);
    config.tls.ca = existing(table, "ca", folder, errors);
    config.tls.certificate = existing(table, "certificate", folder, errors);
    config.tls.key = existing(table, "key", folder, errors);
    config.store = absolute(table, "store", kDefaultStorePath, errors);
    const auto size = table.integer("store_size_mb", 1, kMaxStoreMb, Need::optional);
    config.store_bytes = static_cast<uint64_t>(size ? size->value : kDefaultStoreMb) << 20;
    config.bpffs = absolute(table, "bpffs", "/sys/fs/bpf/keyrail", errors);
    if (const auto group = table.text("server_group", Need::optional)) config.server_group = group->value;
    if (const auto accept = table.boolean("accept_program", Need::optional))
        config.accept_program = accept->value;
    using std::chrono::microseconds;
    if (const auto poll = table.duration("busy_poll", microseconds(0), kMaxBusyPoll, Need::optional))
        config.busy_poll = poll->value;
    if (const auto stay = table.duration("stay_awake", microseconds(0), kMaxStayAwake, Need::optional))
        config.stay_awake = stay->value;
    if (const auto urgent = table.boolean("urgent", Need::optional)) config.urgent = urgent->value;
    if (const auto core = table.integer("core", 0, kMaxCore, Need::optional))
        config.core = static_cast<unsigned>(core->value);
    table.finish();
}

}  // namespace

tl::expected<AgentConfig, std::vector<std::string>> load_agent_config(const std::filesystem::path& file) {
    ConfigErrors errors(file);
    AgentConfig config;
    if (const auto parsed = parse_toml(file, errors)) {
        TomlTable whole(*parsed, "the file", errors);
        if (auto blade = whole.table("blade", Need::required))
            read_blade(*blade, file.parent_path(), errors, config);
        whole.finish();
    }
    if (!errors.empty()) return tl::make_unexpected(errors.lines());
    return config;
}

}  // namespace keyrail
