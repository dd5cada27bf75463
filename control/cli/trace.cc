// SPDX-License-Identifier: Apache-2.0
// keyrail trace and keyrail capture: packets, and what becomes of them.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <thread>

#include "control/cli/api_client.h"
#include "control/cli/table.h"
#include "control/protocol/words.h"
#include "dataplane/common/address.h"

namespace keyrail::cli {

using nlohmann::json;

namespace {

constexpr auto kTracePoll = std::chrono::milliseconds(200);

/// What is wanted; each command has its own, and says what it takes by default.
struct TraceWish {
    json body = json::object();
    std::chrono::microseconds lasts{60'000'000};
    std::string file;
};
using TraceWishPtr = std::shared_ptr<TraceWish>;

void add_filter_text(CLI::App& command, const TraceWishPtr& wish, const std::string& option, const char* key,
                     const std::string& type, const std::string& text) {
    command
        .add_option_function<std::string>(
            option, [wish, key](const std::string& value) { wish->body[key] = value; }, text)
        ->type_name(type);
}

/// "10.0.0.0/8", "10.0.0.1:443", "[2001:db8::1]:443": an address or a prefix, or an address and a port.
void add_filter_address(CLI::App& command, const TraceWishPtr& wish, const std::string& option,
                        const char* address, const char* port, const std::string& text) {
    command
        .add_option_function<std::string>(
            option,
            [wish, address, port](const std::string& value) {
                const auto both = parse_host_port(value);
                wish->body[address] = both ? both->address.text() : value;
                if (both) wish->body[port] = both->port;
            },
            text)
        ->type_name("ADDRESS[/BITS|:PORT]");
}

void add_filters(CLI::App& command, const TraceWishPtr& wish, unsigned packets, unsigned most) {
    add_filter_address(command, wish, "--client", "client", "client_port",
                       "packets of these clients, both ways");
    add_filter_address(command, wish, "--to", "address", "port",
                       "packets to these service addresses, and from them");
    add_filter_text(command, wish, "--sni", "server_name", "NAME",
                    "ClientHellos with this server name; *.example.com: one label");
    add_filter_text(command, wish, "--session", "session", "HEX",
                    "ClientHellos that offer this session, 64 hex digits");
    add_filter_text(command, wish, "--blade", "blade", "BLADE", "packets that were sent to this blade");
    command
        .add_option_function<std::vector<std::string>>(
            "--reason", [wish](const std::vector<std::string>& values) { wish->body["reasons"] = values; },
            "packets that end so, by the names of 'keyrail stats --all'")
        ->delimiter(',')
        ->type_name("NAME,...");
    command.add_flag_callback(
        "--drops", [wish] { wish->body["drops_only"] = true; },
        "packets that are dropped, for whatever reason");
    command
        .add_option_function<unsigned>(
            "--packets", [wish](unsigned value) { wish->body["packets"] = value; },
            fmt::format("it ends after so many ({}; at most {})", packets, most))
        ->type_name("N")
        ->check(CLI::Range(1u, most));
    wish->body["packets"] = packets;
    add_duration(
        command, "--for", [wish](std::chrono::microseconds time) { wish->lasts = time; },
        "and after so long (60s; at most 1h)");
}

std::string end_text(const json& record, const char* address, const char* port) {
    if (record.at(address).is_null()) return "-";
    const std::string text = record.at(address);
    const bool v6 = text.find(':') != std::string::npos;
    return fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), text, record.at(port).get<int>());
}

std::string clock_text(uint64_t unix_us) {
    const auto seconds = static_cast<std::time_t>(unix_us / 1'000'000);
    std::tm parts{};
    localtime_r(&seconds, &parts);
    return fmt::format("{:02}:{:02}:{:02}.{:06}", parts.tm_hour, parts.tm_min, parts.tm_sec,
                       unix_us % 1'000'000);
}

std::string hello_text(const json& hello) {
    if (hello.is_null()) return "";
    std::string text = hello.at("server_name").is_null() ? "" : hello.at("server_name").get<std::string>();
    if (!hello.at("session").is_null())
        text += (text.empty() ? "" : " ") + hello.at("session").get<std::string>().substr(0, 12);
    if (!hello.at("holder").is_null())
        text += fmt::format("@{}{}", hello.at("holder").get<int>(),
                            hello.at("moved").get<bool>() ? " moved" : "");
    return text;
}

void show_records(const json& records) {
    Table table({"TIME", "W", "PORT", "FROM", "TO", "FLAGS", "DATA", "STAGE", "ACTION", "REASON", "BLADE",
                 "AFTER us", "HELLO"});
    for (const json& record : records)
        table.add({clock_text(record.at("unix_us")), record.at("worker").dump(), record.at("port"),
                   end_text(record, "source", "source_port"),
                   end_text(record, "destination", "destination_port"), record.at("flags"),
                   record.at("payload").dump(), record.at("stage"), record.at("action"), record.at("reason"),
                   record.at("blade").is_null() ? "-" : record.at("blade").dump(),
                   record.at("waited_us").dump(), hello_text(record.at("hello"))});
    if (!table.empty()) table.print();
}

std::string trace_state_text(const json& trace) {
    const std::string state = trace.at("state");
    if (state == "none") return "nothing was traced yet; 'keyrail trace start' begins";
    std::string text = fmt::format("{} packet(s) told, {} lost", trace.at("told").get<uint64_t>(),
                                   trace.at("lost").get<uint64_t>());
    if (state == "running")
        return text + fmt::format("; goes on, begun by {}", trace.at("actor").get<std::string>());
    return text + "; ended: " + trace.at("why").get<std::string>();
}

/// All of it, in as many answers as it takes.
Reply whole_trace(const Invocation& invocation, size_t from) {
    Reply all = ask(invocation, fmt::format("/v1/trace?from={}", from));
    while (all && all->at("next").get<size_t>() < all->at("told").get<size_t>()) {
        Reply more = ask(invocation, fmt::format("/v1/trace?from={}", all->at("next").get<size_t>()));
        if (!more) return more;
        json& records = all->at("records");
        records.insert(records.end(), more->at("records").begin(), more->at("records").end());
        (*all)["next"] = more->at("next");
        if (more->at("records").empty()) break;
    }
    return all;
}

int show_trace(const Invocation& invocation, bool follow) {
    size_t from = 0;
    for (;;) {
        const Reply trace = whole_trace(invocation, from);
        if (!trace) return complain(invocation, trace.error());
        from = trace->at("next");
        const bool over = trace->at("state") != "running";
        if (invocation.json)
            fmt::print("{}\n", trace->dump(2));
        else
            show_records(trace->at("records"));
        std::fflush(stdout);
        if (!follow || over) {
            if (!invocation.json) fmt::print("{}\n", trace_state_text(*trace));
            return kDone;
        }
        Table::headers(false);  // the next ones follow
        std::this_thread::sleep_for(kTracePoll);
    }
}

Reply start_trace(const Invocation& invocation, TraceWish& wish) {
    constexpr std::chrono::microseconds kSecond{1'000'000};
    wish.body["seconds"] = (wish.lasts + kSecond - std::chrono::microseconds(1)) / kSecond;
    return tell(invocation, "/v1/trace/start", wish.body);
}

void add_trace_start(CLI::App& trace, Invocation& invocation) {
    const auto wish = std::make_shared<TraceWish>();
    const auto wait = std::make_shared<bool>(false);
    CLI::App* command = subcommand(trace, "start", "Begin; it ends by itself");
    add_filters(*command, wish, 100, 20'000);
    command->add_flag("--follow", *wait, "show the packets as they come, until it ends");
    command->callback([&invocation, wish, wait] {
        invocation.run = [&invocation, wish, wait]() -> int {
            const Reply begun = start_trace(invocation, *wish);
            if (begun && *wait) return show_trace(invocation, true);
            return print(invocation, begun,
                         [](const json&) { fmt::print("tracing; 'keyrail trace show' shows it\n"); });
        };
    });
}

/// Nobody's file is written over, and nobody else reads it: packets are in it.
int write_file(const Invocation& invocation, const std::string& name, const std::string& bytes) {
    const int file = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return complain(invocation, kRefused,
                        fmt::format("{}: {}; name another file", name, std::strerror(errno)));
    size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t some = write(file, bytes.data() + done, bytes.size() - done);
        if (some <= 0) break;
        done += static_cast<size_t>(some);
    }
    const bool whole = close(file) == 0 && done == bytes.size();
    return whole ? int{kDone}
                 : complain(invocation, kRefused,
                            fmt::format("{}: {}; is the disk full?", name, std::strerror(errno)));
}

int run_capture(const Invocation& invocation, TraceWish& wish) {
    if (access(wish.file.c_str(), F_OK) == 0)
        return complain(invocation, kRefused,
                        fmt::format("{} is there already; name another file", wish.file));
    const Reply begun = start_trace(invocation, wish);
    if (!begun) return complain(invocation, begun.error());
    Reply trace;
    do {
        std::this_thread::sleep_for(kTracePoll);
        trace = ask(invocation, fmt::format("/v1/trace?from={}", SIZE_MAX));
        if (!trace) return complain(invocation, trace.error());
        if (trace->at("trace") != begun->at("trace"))
            return complain(invocation, kConflict, "another trace has taken its place");
    } while (trace->at("state") == "running");
    const auto bytes = fetch(invocation, "/v1/trace/capture");
    if (!bytes) return complain(invocation, bytes.error());
    if (const int failed = write_file(invocation, wish.file, *bytes)) return failed;
    return print(invocation, trace,
                 [&](const json& done) { fmt::print("{}: {}\n", wish.file, trace_state_text(done)); });
}

void add_capture(CLI::App& app, Invocation& invocation) {
    const auto wish = std::make_shared<TraceWish>();
    wish->body["snap"] = 2048;
    CLI::App* command = subcommand(app, "capture",
                                   "Write packets into a pcapng file, each with what became of it as its "
                                   "comment; what clients send is in it");
    command->add_option("file", wish->file, "the file, which must not be there yet")
        ->required()
        ->type_name("FILE");
    add_filters(*command, wish, 1000, 10'000);
    command
        ->add_option_function<unsigned>(
            "--snap", [wish](unsigned value) { wish->body["snap"] = value; }, "bytes of each packet (2048)")
        ->type_name("BYTES")
        ->check(CLI::Range(1u, 2048u));
    command->callback([&invocation, wish] {
        invocation.run = [&invocation, wish] { return run_capture(invocation, *wish); };
    });
}

}  // namespace

void add_trace(CLI::App& app, Invocation& invocation) {
    CLI::App* trace = subcommand(
        app, "trace", "Packets, and what becomes of each: one trace at a time, which ends by itself");
    trace->require_subcommand(1);
    add_trace_start(*trace, invocation);
    const auto follow = std::make_shared<bool>(false);
    CLI::App* shown = showing(*trace, invocation, "show", "What was traced so far");
    shown->add_flag("--follow", *follow, "and what comes, until it ends");
    shown->callback([&invocation, follow] {
        invocation.run = [&invocation, follow] { return show_trace(invocation, *follow); };
    });
    subcommand(*trace, "stop", "End it; what was traced stays")->callback([&invocation] {
        invocation.run = [&invocation] {
            return print(invocation, tell(invocation, "/v1/trace/stop"),
                         [](const json& state) { fmt::print("{}\n", trace_state_text(state)); });
        };
    });
    add_capture(app, invocation);
}

}  // namespace keyrail::cli
