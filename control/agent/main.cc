// SPDX-License-Identifier: Apache-2.0
// keyrail-agent: one per blade. Exit status: 0 fine, 1 something is wrong (said on stderr), 2 usage, 3 (of
// --check) the kernel cannot do late binding.
#include <openssl/crypto.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <asio/signal_set.hpp>
#include <csignal>

#include "control/agent/accept_program.h"
#include "control/agent/agent.h"
#include "control/agent/join.h"
#include "control/agent/kernel_checks.h"
#include "control/agent/late_binding_trial.h"
#include "control/agent/token_source.h"
#include "control/protocol/event_loop.h"
#include "control/protocol/exit_status.h"
#include "control/protocol/pulse.h"
#include "dataplane/common/urgency.h"

namespace {

using namespace keyrail;

constexpr int kFailed = 1, kNoLateBinding = 3;

int complain(const std::string& message, int status) {
    fmt::print(stderr, "keyrail-agent: {}\n", message);
    return status;
}

int check() {
    if (const auto kernel = check_kernel(); !kernel) return complain(kernel.error().message, kNoLateBinding);
    int status = 0;
    for (const std::string& problem : sysctl_problems()) status = complain(problem, kFailed);
    if (geteuid() != 0) return complain("only root can try late binding; nothing was tried", kFailed);
    if (const auto tried = try_late_binding(); !tried) status = complain(tried.error().message, kFailed);
    if (status == 0) fmt::print("kernel {}: late binding works on this blade\n", kernel_release());
    return status;
}

int do_join(JoinWish wish, const std::string& token_file, const std::string& argument) {
    if (!argument.empty() && argument != "-")
        return complain(
            "a token is not given as an argument: every user of this machine can read those. Make a new one "
            "with "
            "'keyrail blade enroll', for this one may have been seen, and give it by 'keyrail-agent join "
            "--token-file FILE', on standard input, or in the environment as KEYRAIL_JOIN_TOKEN",
            kFailed);
    auto token = read_token(token_file.empty() ? argument : token_file);
    if (!token) return complain(token.error().message, kFailed);
    wish.token = std::move(*token);
    const auto written = join_chassis(wish);
    OPENSSL_cleanse(wish.token.data(), wish.token.size());
    if (!written) return complain(written.error().message, kFailed);
    for (const auto& file : *written) fmt::print("{}\n", file.string());
    fmt::print(stderr,
               "this machine is a blade now; start its agent: systemctl start keyrail-agent (by hand: "
               "keyrail-agent --config {})\n",
               wish.config.string());
    return 0;
}

int run(AgentConfig config) {
    prctl(PR_SET_DUMPABLE, 0);  // session keys and name keys are in our memory
    asio::io_context io(1);
    asio::signal_set signals(io, SIGTERM, SIGINT);
    signals.async_wait([&io](const asio::error_code&, int) { io.stop(); });
    std::signal(SIGPIPE, SIG_IGN);
    const auto id = config.id;
    const auto busy_poll = config.busy_poll;
    const bool urgent = config.urgent;
    const auto core = config.core;
    auto agent = Agent::start(io, std::move(config));
    if (!agent) return complain(agent.error().message, kFailed);
    spdlog::info("keyrail-agent of blade {} is ready", id);
    std::optional<Urgency> urgency;
    if (urgent) {
        urgency.emplace(kUrgentShare, core);
        spdlog::info("moves run at {}", urgency->text());
    }
    {
        const Pulse pulse(io.get_executor());
        run_loop(io, busy_poll, urgency ? &*urgency : nullptr);
    }
    spdlog::info("keyrail-agent ends; the session store and the accept program stay");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Keyrail's agent on a blade: session store, moves, accept program.", "keyrail-agent");
    std::string file;
    bool only_check = false, detach = false;
    app.add_option("--config", file, "configuration (TOML)");
    app.add_flag("--check", only_check,
                 "only say whether kernel and settings are fit for late binding, and try it");
    app.add_flag("--detach", detach, "take the accept program off the interface and end");
    JoinWish wish{"", "/etc/keyrail/agent.toml", ""};
    CLI::App* join = app.add_subcommand("join", "become a blade of the chassis that made this token");
    std::string token_file, argument;
    join->add_option(
        "--token-file", token_file,
        "has the token of 'keyrail blade enroll', alone or as KEYRAIL_JOIN_TOKEN=TOKEN; '-': standard "
        "input (default: the environment's KEYRAIL_JOIN_TOKEN, else standard input)");
    join->add_option("argument", argument, "'-': the token comes on standard input")->option_text("[-]");
    join->add_option("--config", wish.config,
                     "written, with its certificate beside it; one that is there is kept")
        ->capture_default_str();
    join->add_option("--interface", wish.interface,
                     "where clients' segments arrive (default: the backplane)");
    app.set_version_flag("--version", "keyrail-agent " KEYRAIL_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? kDone : kUsage;
    }
    if (*join) return do_join(std::move(wish), token_file, argument);
    spdlog::set_default_logger(spdlog::stderr_logger_st("keyrail-agent"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
    if (only_check) return check();
    if (file.empty()) return complain("--config FILE is missing (or --check)", kUsage);
    auto config = load_agent_config(file);
    if (!config) {
        for (const std::string& line : config.error()) fmt::print(stderr, "{}\n", line);
        return kFailed;
    }
    if (!detach) return run(std::move(*config));
    const auto detached = AcceptProgram::detach(config->bpffs);
    return detached ? 0 : complain(detached.error().message, kFailed);
}
