// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/daemon_report.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/daemon/core/daemon.h"

namespace keyrail {

using nlohmann::json;
using std::chrono::system_clock;

namespace {

int64_t unix_s(system_clock::time_point time) { return system_clock::to_time_t(time); }

json config_report(Daemon& daemon) {
    const Applying& applying = daemon.applying();
    const History& history = applying.history();
    json report = {{"revision", history.in_force()},
                   {"last_apply_successful", applying.last_apply_successful()},
                   {"last_apply_s", nullptr},
                   {"confirm_pending", history.pending().has_value()}};
    if (const auto in_force = history.revisions().find(history.in_force());
        in_force != history.revisions().end())
        report["last_apply_s"] = static_cast<double>(in_force->second.unix_ms) / 1000;
    return report;
}

/// null: there is none.
json age_of_current(const Secrets::Keys& keys) {
    for (const Secrets::Key& key : keys)
        if (key.current) return unix_s(system_clock::now()) - key.made_s;
    return nullptr;
}

json keys_report(const Daemon& daemon) {
    const Secrets& secrets = daemon.secrets();
    return {{"name", age_of_current(secrets.name_keys())},
            {"cookie", age_of_current(secrets.cookie_keys())},
            {"waits_for", secrets.coming() ? daemon.waits_for_keys().size() : 0}};
}

json certificates_report(Daemon& daemon) {
    const auto one = [](const char* who, const json& blade, system_clock::time_point until) {
        return json{{"who", who}, {"blade", blade}, {"until_s", unix_s(until)}};
    };
    json report = json::array();
    if (const auto ca = daemon.tls().ca_until()) report.push_back(one("ca", "", *ca));
    report.push_back(one("keyraild", "", daemon.tls().certificate().until));
    for (const auto& [id, blade] : daemon.blades().all())
        if (const auto until = daemon.agents().certificate_until(id))
            report.push_back(one("agent", id, *until));
    return report;
}

json handshakes_report(const Daemon& daemon) {
    json report = json::array();
    for (const auto& [source, totals] : daemon.economics().reported()) {
        const auto& [blade, service, version, resumed] = source;
        if (service.empty()) continue;  // moves
        report.push_back({{"service", service},
                          {"tls_version", version == 0 ? "1.2" : "1.3"},
                          {"blade", blade},
                          {"result", resumed ? "resumed" : "full"},
                          {"count", totals.count}});
    }
    return report;
}

/// When the machine was started, as unix time; nullopt: it does not say.
std::optional<double> boot_s() {
    std::ifstream stat("/proc/stat");
    for (std::string word; stat >> word;) {
        double seconds = 0;
        if (word == "btime" && stat >> seconds) return seconds;
    }
    return std::nullopt;
}

void add_stat(json& report) {
    std::ifstream file("/proc/self/stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const size_t name = text.rfind(')');  // which may have spaces itself
    if (name == std::string::npos) return;
    std::istringstream words(text.substr(name + 1));
    const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
    // proc(5) counts from 1, and the state, behind the name, is the third.
    constexpr size_t kUser = 14 - 3, kSystem = 15 - 3, kStart = 22 - 3, kVirtual = 23 - 3, kResident = 24 - 3;
    if (fields.size() <= kResident) return;
    const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto number = [&](size_t field) { return std::strtoull(fields[field].c_str(), nullptr, 10); };
    report["cpu_s"] = static_cast<double>(number(kUser) + number(kSystem)) / ticks;
    report["virtual_bytes"] = number(kVirtual);
    report["resident_bytes"] = number(kResident) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    if (const auto boot = boot_s()) report["start_s"] = *boot + static_cast<double>(number(kStart)) / ticks;
}

}  // namespace

json process_report() {
    json report = {{"cpu_s", nullptr},         {"start_s", nullptr},  {"resident_bytes", nullptr},
                   {"virtual_bytes", nullptr}, {"open_fds", nullptr}, {"max_fds", nullptr}};
    add_stat(report);
    std::error_code error;
    const std::filesystem::directory_iterator open("/proc/self/fd", error);
    if (!error) report["open_fds"] = std::distance(open, {}) - 1;  // without the one that lists them
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) report["max_fds"] = limit.rlim_cur;
    return report;
}

json daemon_report(Daemon& daemon) {
    return {{"config", config_report(daemon)},
            {"keys", keys_report(daemon)},
            {"certificates", certificates_report(daemon)},
            {"handshakes", handshakes_report(daemon)},
            {"process", process_report()}};
}

}  // namespace keyrail
