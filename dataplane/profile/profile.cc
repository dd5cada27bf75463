// SPDX-License-Identifier: Apache-2.0
// Reads and checks a hardware profile. Everything that can be known without touching the hardware is checked
// here.
#include "dataplane/profile/profile.h"

#include <net/if.h>
#include <toml++/toml.h>

#include <concepts>
#include <set>

#include "dataplane/common/address.h"

namespace keyrail {
namespace {

/// Reads one TOML table key by key. The first error wins; `finish` reports keys that nobody asked for.
class TableReader {
  public:
    TableReader(const toml::table& table, std::string file) : table_(table), file_(std::move(file)) {}

    void text(std::string_view key, std::string& into, bool required = false) {
        const toml::node* node = take(key, required);
        if (node == nullptr) return;
        if (!node->is_string()) return error(*node, "'{}' must be a text; put it in quotes", key);
        into = **node->as_string();
        if (required && into.empty()) error(*node, "'{}' is empty; give it a value", key);
    }

    void flag(std::string_view key, bool& into) {
        const toml::node* node = take(key, false);
        if (node == nullptr) return;
        if (!node->is_boolean()) return error(*node, "'{}' must be true or false", key);
        into = **node->as_boolean();
    }

    template <std::unsigned_integral T>
    void number(std::string_view key, T& into, T low, T high) {
        const toml::node* node = take(key, false);
        if (node == nullptr) return;
        const auto* value = node->as_integer();
        if (value == nullptr || **value < int64_t{low} || **value > int64_t{high}) {
            return error(*node, "'{}' must be a whole number from {} to {}", key, low, high);
        }
        into = static_cast<T>(**value);
    }

    /// A list of texts, each of which `check` (text -> Result of anything) accepts.
    template <typename Check>
    void texts(std::string_view key, std::vector<std::string>& into, Check check) {
        const toml::node* node = take(key, false);
        if (node == nullptr) return;
        if (!node->is_array()) return error(*node, "'{}' must be a list of texts", key);
        for (const toml::node& item : *node->as_array()) {
            if (!item.is_string()) return error(item, "'{}' must be a list of texts", key);
            if (auto good = check(**item.as_string()); !good) return error(item, "{}", good.error().message);
            into.push_back(**item.as_string());
        }
    }

    template <typename... Args>
    void error(const toml::node& at, fmt::format_string<Args...> format, Args&&... args) {
        error_at(at.source().begin.line, fmt::format(format, std::forward<Args>(args)...));
    }
    template <typename... Args>
    void error_key(std::string_view key, fmt::format_string<Args...> format, Args&&... args) {
        const toml::node* node = table_.get(key);
        error(node != nullptr ? *node : static_cast<const toml::node&>(table_), format,
              std::forward<Args>(args)...);
    }

    const toml::node* take(std::string_view key, bool required) {
        known_.emplace(key);
        const toml::node* node = table_.get(key);
        if (node == nullptr && required) error(table_, "'{}' is missing; add it", key);
        return node;
    }

    Result<void> finish() {
        for (const auto& [key, node] : table_) {
            if (known_.contains(key.str())) continue;
            error_at(key.source().begin.line,
                     fmt::format("unknown key '{}'; known here: {}", key.str(), fmt::join(known_, ", ")));
        }
        if (!error_.message.empty()) return tl::make_unexpected(error_);
        return {};
    }

  private:
    void error_at(uint32_t line, const std::string& what) {
        if (error_.message.empty()) error_.message = fmt::format("{}:{}: {}", file_, line, what);
    }

    const toml::table& table_;
    std::string file_;
    std::set<std::string, std::less<>> known_;
    Error error_;
};

Result<void> read_worker(const toml::table& table, Profile& profile) {
    TableReader reader(table, profile.file);
    reader.number<uint16_t>("count", profile.workers, 1, kMaxWorkers);
    reader.text("cores", profile.cores);
    std::string poll = "busy";
    reader.text("poll", poll);
    if (poll != "busy" && poll != "adaptive")
        reader.error_key("poll", "'poll' must be \"busy\" or \"adaptive\"");
    profile.poll = poll == "adaptive" ? PollMode::adaptive : PollMode::busy;
    reader.flag("urgent", profile.urgent);
    return reader.finish();
}

Result<void> read_memory(const toml::table& table, Profile& profile) {
    TableReader reader(table, profile.file);
    reader.flag("huge_pages", profile.huge_pages);
    reader.number<uint32_t>("megabytes", profile.memory_mb, 64, 1u << 20);
    reader.number<uint32_t>("mbufs", profile.mbufs, 4096, 1u << 24);
    reader.number<uint32_t>("flows", profile.flows, 1024, 1u << 28);
    reader.text("flow_directory", profile.flow_directory);
    reader.number<uint32_t>("holds", profile.holds, 16, 1u << 20);
    reader.number<uint32_t>("moved", profile.moved, 1024, 1u << 26);
    reader.number<uint32_t>("routes", profile.routes, 1024, 1u << 22);
    return reader.finish();
}

Result<bool> check_mac(const std::string& mac) {
    unsigned byte[6];
    int end = 0;
    const int fields = std::sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2],
                                   &byte[3], &byte[4], &byte[5], &end);
    if (fields != 6 || static_cast<size_t>(end) != mac.size() || (byte[0] & 1) != 0) {
        return fail("'mac' must be a unicast MAC address like 02:00:00:00:00:01");
    }
    return true;
}

Result<PortProfile> read_port(const toml::table& table, const Profile& profile) {
    PortProfile port;
    TableReader reader(table, profile.file);
    reader.text("name", port.name, true);
    reader.text("role", port.role, true);
    if (port.role != "front" && port.role != "back")
        reader.error_key("role", "'role' must be \"front\" or \"back\"");
    reader.text("device", port.device, true);
    reader.text("kernel_interface", port.kernel_interface, true);
    if (port.kernel_interface.size() >= IFNAMSIZ ||
        port.kernel_interface.find_first_of("/ :,=") != std::string::npos) {
        reader.error_key("kernel_interface",
                         "'kernel_interface' must have at most {} characters, none of '/ :,='", IFNAMSIZ - 1);
    }
    reader.text("mac", port.mac);
    if (!port.mac.empty()) {
        if (auto good = check_mac(port.mac); !good) reader.error_key("mac", "{}", good.error().message);
    }
    reader.texts("addresses", port.addresses, parse_prefix);
    reader.texts("routes", port.routes, parse_route);
    for (const PortProfile& other : profile.ports) {
        if (other.name == port.name)
            reader.error_key("name", "port '{}' is there twice; rename one", port.name);
        if (other.device == port.device) reader.error_key("device", "device '{}' is used twice", port.device);
        if (other.kernel_interface == port.kernel_interface) {
            reader.error_key("kernel_interface", "'{}' is used twice; rename one", port.kernel_interface);
        }
    }
    if (auto good = reader.finish(); !good) return tl::make_unexpected(good.error());
    return port;
}

Result<void> read_ports(const toml::node* node, Profile& profile) {
    const toml::array* list = node == nullptr ? nullptr : node->as_array();
    if (list == nullptr || list->empty() || !list->is_homogeneous(toml::node_type::table)) {
        return fail("{}:{}: no port; describe each in a section [[port]]", profile.file.string(),
                    node == nullptr ? 1 : node->source().begin.line);
    }
    if (list->size() > kMaxPorts) {
        return fail("{}:{}: {} ports; {} are the most", profile.file.string(), node->source().begin.line,
                    list->size(), kMaxPorts);
    }
    for (const toml::node& item : *list) {
        auto port = read_port(*item.as_table(), profile);
        if (!port) return tl::make_unexpected(port.error());
        profile.ports.push_back(std::move(*port));
    }
    return {};
}

Result<Profile> read_tables(const toml::table& root, Profile profile) {
    TableReader reader(root, profile.file);
    using Section = Result<void> (*)(const toml::table&, Profile&);
    for (const auto& [name, read] :
         {std::pair<const char*, Section>{"worker", read_worker}, {"memory", read_memory}}) {
        const toml::node* node = reader.take(name, false);
        if (node == nullptr) continue;
        if (!node->is_table()) {
            reader.error(*node, "'{}' must be a section [{}]", name, name);
            continue;
        }
        if (auto good = read(*node->as_table(), profile); !good) return tl::make_unexpected(good.error());
    }
    const toml::node* ports = reader.take("port", false);
    if (auto good = reader.finish(); !good) return tl::make_unexpected(good.error());
    if (auto good = read_ports(ports, profile); !good) return tl::make_unexpected(good.error());
    return profile;
}

}  // namespace

Result<Profile> read_profile(const std::filesystem::path& file) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error)) {
        return fail("{}:1: no such file; name a profile with --profile (examples: hw/profiles)",
                    file.string());
    }
    try {
        const toml::table root = toml::parse_file(file.string());
        Profile profile;
        profile.file = file;
        return read_tables(root, std::move(profile));
    } catch (const toml::parse_error& bad) {
        return fail("{}:{}: {}; correct the TOML there", file.string(), bad.source().begin.line,
                    bad.description());
    }
}

}  // namespace keyrail
