// SPDX-License-Identifier: Apache-2.0
// keyraild: the control daemon. `--config FILE` runs it, `--check FILE` only checks a configuration.
#include <fcntl.h>
#include <fmt/ranges.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <csignal>

#include "control/daemon/api/api.h"
#include "control/daemon/api/api_server.h"
#include "control/daemon/core/daemon.h"
#include "control/daemon/history/startup.h"
#include "control/protocol/event_loop.h"
#include "control/protocol/exit_status.h"
#include "control/protocol/file.h"
#include "control/protocol/pulse.h"
#include "dataplane/common/urgency.h"

namespace {

using namespace keyrail;
namespace fs = std::filesystem;

int check(const fs::path& file) {
    const auto config = check_config(file);
    if (config) {
        fmt::print("{}: ok\n", file.string());
        return 0;
    }
    fmt::print(stderr, "{}\n", fmt::join(config.error(), "\n"));
    return 1;
}

/// Keys shall not reach a disk: no core dumps, no swapping out.
void keep_memory_private() {
    prctl(PR_SET_DUMPABLE, 0);
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        spdlog::warn("memory cannot be locked ({}): keys could be swapped out; raise LimitMEMLOCK",
                     std::strerror(errno));
}

std::string refusal_text(const Applying::Refusal& refusal) {
    const bool listed = refusal.why == Applying::Why::mistakes;
    std::string text = refusal.text;
    for (const std::string& mistake : refusal.mistakes)
        if (listed) text += "\n" + mistake;
    return text;
}

void watch_signals(asio::signal_set& signals, asio::io_context& io, Daemon& daemon) {
    signals.async_wait([&](const asio::error_code& error, int signal) {
        if (error) return;
        if (signal != SIGHUP) {
            spdlog::info("stopping on signal {}", signal);
            io.stop();
            return;
        }
        if (auto applied = daemon.applying().reload("SIGHUP", false); !applied)
            spdlog::error("{}", refusal_text(applied.error()));
        watch_signals(signals, io, daemon);
    });
}

Result<void> run(const fs::path& file) {
    auto startup = choose_configuration(file);
    if (!startup) return tl::make_unexpected(startup.error());
    for (const std::string& remark : startup->remarks) spdlog::warn("configuration: {}", remark);
    Config* const config = &startup->config;
    auto tls = control_tls(*config);
    if (!tls) return tl::make_unexpected(tls.error());
    for (const fs::path& dir : {config->run_dir, config->state_dir})
        if (auto made = make_directory(dir, 0700); !made) return made;
    auto secrets = Secrets::load_or_create(config->state_dir);
    if (!secrets) return tl::make_unexpected(secrets.error());

    asio::io_context io(1);
    asio::signal_set signals(io, SIGHUP, SIGINT, SIGTERM);
    const fs::path socket = config->run_dir / "keyraild.sock";
    Daemon daemon(io, std::move(*config), std::move(*tls), std::move(*secrets), std::move(startup->history));
    daemon.applying().started_with(file, startup->as_wanted);
    // The API's socket first: it is what tells a second keyraild to keep away.
    const auto api = ApiServer::open(io.get_executor(), socket, [&](ApiRequest request) {
        return answer_api(daemon, std::move(request));
    });
    if (!api) return tl::make_unexpected(api.error());
    std::unique_ptr<ApiServer> metrics;
    if (const auto& address = daemon.config().metrics) {
        auto opened = ApiServer::open(io.get_executor(), *address, [&](ApiRequest request) {
            return answer_metrics(daemon, std::move(request));
        });
        if (!opened) return tl::make_unexpected(opened.error());
        metrics = std::move(*opened);
    }
    if (auto started = daemon.start(); !started) return started;
    watch_signals(signals, io, daemon);
    spdlog::info("keyraild {} for chassis '{}' is ready", KEYRAIL_VERSION, daemon.config().name);
    std::optional<Urgency> urgency;
    if (daemon.config().urgent) {
        urgency.emplace(kUrgentShare, daemon.config().core);
        spdlog::info("moves run at {}", urgency->text());
    }
    {
        const Pulse pulse(io.get_executor());
        run_loop(io, daemon.config().busy_poll, urgency ? &*urgency : nullptr);
    }
    daemon.stop();
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    spdlog::set_default_logger(spdlog::stderr_color_mt("keyraild"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
    spdlog::flush_on(spdlog::level::trace);

    CLI::App app{"keyraild: the control daemon of a Keyrail chassis"};
    fs::path config, checked;
    auto* run_option = app.add_option("--config", config, "run with this configuration");
    auto* check_option =
        app.add_option("--check", checked, "check this configuration and exit: 0 good, 1 not");
    app.set_version_flag("--version", "keyraild " KEYRAIL_VERSION);
    run_option->excludes(check_option);
    bool verbose = false;
    app.add_flag("--verbose,-v", verbose, "log more");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? kDone : kUsage;
    }
    if (!checked.empty()) return check(checked);
    if (config.empty()) {
        fmt::print(stderr, "keyraild: give --config FILE, or --check FILE\n");
        return kUsage;
    }
    if (verbose) spdlog::set_level(spdlog::level::debug);
    keep_memory_private();
    if (const auto ran = run(config); !ran) {
        spdlog::error("{}", ran.error().message);
        return 1;
    }
    return 0;
}
