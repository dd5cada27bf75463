// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/config/service_keys.h"

#include <algorithm>

namespace keyrail {

using namespace std::chrono_literals;
using std::chrono::microseconds;

bool is_plain_name(std::string_view text) {
    const auto plain = [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
    };
    return !text.empty() && text.size() <= kMaxName && std::ranges::all_of(text, plain);
}

namespace {

constexpr microseconds kMaxHold = 1s, kMinHello = 1ms, kMaxHello = 10s;
constexpr int64_t kMinHelloBytes = 1024, kMaxHelloBytes = 65536;
constexpr microseconds kMinLifetime = 1min, kMaxLifetime = 24h * 7;  // RFC 8446 section 4.6.1

void read_steering(ServiceConfig& service, TomlTable& table, ConfigErrors& errors) {
    const auto steering = table.text("steering", Need::optional);
    if (!steering) return;
    service.by_session = steering->value == "session";
    if (!service.by_session && steering->value != "tuple")
        errors.add(steering->line, "'steering' is '{}'; write \"session\" or \"tuple\"", steering->value);
}

void read_binding(ServiceConfig& service, TomlTable& table, ConfigErrors& errors) {
    static const std::map<std::string, Binding, std::less<>> known = {
        {"auto", Binding::automatic}, {"late", Binding::late}, {"early", Binding::early}};
    const auto binding = table.text("binding", Need::optional);
    if (!binding) return;
    const auto found = known.find(binding->value);
    if (found == known.end())
        errors.add(binding->line, "'binding' is '{}'; write \"auto\", \"late\" or \"early\"", binding->value);
    else if (!service.by_session)
        errors.add(binding->line, "'binding' means nothing with steering = \"tuple\"; remove it");
    else
        service.binding = found->second;
}

void read_hold_budget(ServiceConfig& service, TomlTable& table) {
    const auto written = table.text("hold_budget", Need::optional);
    if (!written || written->value == "auto") return;
    if (const auto hold = table.duration("hold_budget", 0us, kMaxHold, Need::optional))
        service.hold_budget = hold->value;
}

void read_idle_timeout(ServiceConfig& service, TomlTable& table) {
    using namespace std::chrono;
    if (const auto idle = table.duration("idle_timeout", minutes(1), hours(24 * 30), Need::optional))
        service.idle_timeout = duration_cast<seconds>(idle->value);
}

/// What the dispatcher says and reads by itself.
void read_answers(ServiceConfig& service, TomlTable& table, ConfigErrors& errors) {
    if (const auto proxy = table.boolean("proxy_protocol", Need::optional))
        service.proxy_protocol = proxy->value;
    if (const auto ping = table.boolean("ping", Need::optional)) service.ping = ping->value;
    const auto refuse = table.text("refuse", Need::optional);
    if (!refuse) return;
    if (refuse->value != "reset" && refuse->value != "drop")
        errors.add(refuse->line, "'refuse' is '{}'; write \"reset\" or \"drop\"", refuse->value);
    service.refuse_by_reset = refuse->value != "drop";
}

void read_tickets(ServiceConfig& service, TomlTable& table, ConfigErrors& errors) {
    if (const auto tickets = table.text("tickets", Need::optional)) {
        static const std::map<std::string, TicketUse> known = {
            {"early-data-once", TicketUse::early_data_once},
            {"single-use", TicketUse::single_use},
            {"reusable", TicketUse::reusable}};
        if (const auto found = known.find(tickets->value); found != known.end())
            service.tickets = found->second;
        else
            errors.add(tickets->line,
                       "'tickets' is '{}'; write \"early-data-once\", \"single-use\" or \"reusable\"",
                       tickets->value);
    }
    if (const auto early = table.boolean("early_data", Need::optional)) {
        service.early_data = early->value;
        if (service.early_data && service.tickets == TicketUse::reusable)
            errors.add(early->line,
                       "early data with reusable tickets could be replayed (RFC 8446 section 8); write "
                       "tickets = \"early-data-once\" or early_data = false");
    }
    if (const auto group = table.text("id_context", Need::optional)) {
        service.id_context = group->value;
        if (!is_plain_name(group->value))
            errors.add(group->line,
                       "'id_context' is '{}'; write the name of a group of sites that may use each other's "
                       "sessions: 1 to {} letters, digits, '-', '_' and '.'",
                       group->value, kMaxName);
    }
}

/// How long a ClientHello may be, and may take.
void read_hello_limits(ServiceConfig& service, TomlTable& table) {
    if (const auto hello = table.duration("hello_timeout", kMinHello, kMaxHello, Need::optional))
        service.hello_timeout = hello->value;
    if (const auto limit = table.integer("hello_limit", kMinHelloBytes, kMaxHelloBytes, Need::optional))
        service.hello_limit = static_cast<uint32_t>(limit->value);
}

}  // namespace

void read_service_keys(ServiceConfig& service, TomlTable& table, ConfigErrors& errors) {
    read_steering(service, table, errors);
    read_binding(service, table, errors);
    if (const auto moves = table.boolean("content_moves", Need::optional))
        service.content_moves = moves->value;
    read_hold_budget(service, table);
    read_hello_limits(service, table);
    read_idle_timeout(service, table);
    read_answers(service, table, errors);
    if (const auto life = table.duration("session_lifetime", kMinLifetime, kMaxLifetime, Need::optional))
        service.session_lifetime = std::chrono::duration_cast<std::chrono::seconds>(life->value);
    read_tickets(service, table, errors);
}

}  // namespace keyrail
