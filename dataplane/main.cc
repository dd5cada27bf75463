// SPDX-License-Identifier: Apache-2.0
// keyrail-dp: reads a profile, starts DPDK, the ports and the workers, and is their control thread until
// SIGTERM.
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <bit>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "dataplane/common/service_manager.h"
#include "dataplane/common/urgency.h"
#include "dataplane/core/shared.h"
#include "dataplane/flow/flow_memory.h"
#include "dataplane/io/eal.h"
#include "dataplane/io/ports.h"
#include "dataplane/link/control_link.h"
#include "dataplane/link/kernel_routes.h"
#include "dataplane/link/kernel_setup.h"
#include "dataplane/link/worker_watch.h"
#include "dataplane/profile/profile.h"
#include "dataplane/tables/moved_table.h"
#include "dataplane/worker.h"

namespace keyrail {
namespace {

constexpr unsigned kRing = 4096;

/// Everything that lives as long as the process; torn down in the opposite order.
struct Dispatcher {
    Shared shared;
    Ports ports;
    std::unique_ptr<Routes> routes;
    std::unique_ptr<MovedTable> moved;
    std::unique_ptr<KernelRoutes> kernel;
    std::unique_ptr<FlowMemory> flows;
    std::vector<std::unique_ptr<Worker>> workers;
    Descriptor wake;
    std::vector<Descriptor> wake_workers;

    ~Dispatcher();
    Result<void> open(const Profile& profile, const std::filesystem::path& run_dir);
    Result<void> make_rings(bool naps);
    Result<void> open_flows(const Profile& profile, const std::filesystem::path& run_dir);
    Result<void> make_workers(const Profile& profile);
    void launch();
    void join();
};

std::string boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(file, id);
    return id;
}

rte_ring* make_ring(const char* what, size_t worker, unsigned element, unsigned flags) {
    return create_ring(fmt::format("{}{}", what, worker).c_str(), element, kRing, SOCKET_ID_ANY, flags);
}

Result<void> Dispatcher::make_rings(bool naps) {
    wake = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    shared.wake_control = wake.get();
    if (naps)
        for (size_t i = 0; i < shared.workers; ++i) {
            wake_workers.emplace_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
            shared.wake_worker[i] = wake_workers.back().get();
        }
    constexpr unsigned kOneToOne = RING_F_SP_ENQ | RING_F_SC_DEQ;
    bool good = static_cast<bool>(wake);
    for (size_t i = 0; i < shared.workers; ++i) {
        shared.asks[i] = make_ring("asks", i, sizeof(MoveAsk), kOneToOne);
        shared.answers[i] = make_ring("answers", i, sizeof(MoveAnswer), kOneToOne);
        shared.flow_asks[i] = make_ring("flow_asks", i, sizeof(FlowAsk), kOneToOne);
        shared.flow_answers[i] = make_ring("flow_answers", i, sizeof(FlowAnswer), kOneToOne);
        good = good && shared.flow_asks[i] != nullptr && shared.flow_answers[i] != nullptr;
        shared.handoff[i] = make_ring("handoff", i, sizeof(void*), RING_F_SC_DEQ);
        if (shared.workers > 1) {
            shared.flow_ends[i] = make_ring("flow_ends", i, sizeof(FlowEnd), RING_F_SC_DEQ);
            good = good && shared.flow_ends[i] != nullptr;
        }
        good =
            good && shared.asks[i] != nullptr && shared.answers[i] != nullptr && shared.handoff[i] != nullptr;
    }
    const size_t size = rte_rcu_qsbr_get_memsize(kMaxWorkers);
    shared.rcu = static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", size, RTE_CACHE_LINE_SIZE));
    if (!good || shared.rcu == nullptr || rte_rcu_qsbr_init(shared.rcu, kMaxWorkers) != 0) {
        return fail("no memory for the workers' rings; raise memory.megabytes in the profile");
    }
    return {};
}

/// The flow tables go on with what the last process left, or say why not.
Result<void> Dispatcher::open_flows(const Profile& profile, const std::filesystem::path& run_dir) {
    const FlowMemory::Shape shape{
        .workers = profile.workers,
        .buckets = std::bit_ceil((size_t{profile.flows} + 3) / 4),
        .tsc_per_us = std::max<uint64_t>(1, rte_get_tsc_hz() / 1'000'000),
        .boot = boot_id(),
        .fresh_key = shared.flow_hash_key,
    };
    const bool named = !profile.flow_directory.empty();
    const std::filesystem::path directory = named ? std::filesystem::path(profile.flow_directory) : run_dir;
    const bool disk = !named && !FlowMemory::in_memory(run_dir);
    auto opened = disk ? FlowMemory::anonymous(shape) : FlowMemory::open(directory, shape);
    if (!opened) return fail("{}: flow tables: {}", profile.file.string(), opened.error().message);
    flows = std::make_unique<FlowMemory>(std::move(*opened));
    shared.flow_hash_key = flows->hash_key();
    shared.limits = {.flows = shape.buckets * 4 * profile.workers,
                     .holds = uint64_t{profile.holds} * profile.workers,
                     .moved = profile.moved};
    if (disk)
        SPDLOG_WARN("flows do not outlive a restart: {} is on a disk; set memory.flow_directory",
                    run_dir.string());
    else if (!flows->begun_anew().empty())
        SPDLOG_INFO("flow tables in {} begin empty: {}", directory.string(), flows->begun_anew());
    else
        SPDLOG_INFO("flow tables in {} go on", directory.string());
    return {};
}

Result<void> Dispatcher::make_workers(const Profile& profile) {
    for (uint16_t i = 0; i < profile.workers; ++i) {
        auto worker = Worker::create(i, profile, ports, *flows, shared);
        if (!worker) return tl::make_unexpected(worker.error());
        workers.push_back(std::move(*worker));
    }
    return {};
}

Result<void> Dispatcher::open(const Profile& profile, const std::filesystem::path& run_dir) {
    shared.workers = profile.workers;
    if (auto good = open_flows(profile, run_dir); !good) return good;
    if (auto good = make_rings(profile.poll == PollMode::adaptive); !good) return good;
    auto opened = open_ports(profile, profile.workers);
    if (!opened) return tl::make_unexpected(opened.error());
    ports = std::move(*opened);
    auto made_routes = Routes::create(profile.routes, shared.rcu);
    if (!made_routes) return tl::make_unexpected(made_routes.error());
    routes = std::move(*made_routes);
    shared.routes = routes.get();
    auto made_moved = MovedTable::create(profile.moved, shared.rcu);
    if (!made_moved) return tl::make_unexpected(made_moved.error());
    moved = std::move(*made_moved);
    shared.moved = moved.get();
    if (auto good = make_workers(profile); !good) return good;
    if (auto good = set_up_kernel(profile, ports); !good) return good;
    auto followed = KernelRoutes::start(ports, shared);
    if (!followed) return tl::make_unexpected(followed.error());
    kernel = std::move(*followed);
    return {};
}

void Dispatcher::launch() {
    auto run = [](void* worker) {
        static_cast<Worker*>(worker)->run();
        return 0;
    };
    unsigned lcore = rte_get_next_lcore(-1, 1, 0);
    for (auto& worker : workers) {
        rte_eal_remote_launch(run, worker.get(), lcore);
        lcore = rte_get_next_lcore(lcore, 1, 0);
    }
}

void Dispatcher::join() {
    shared.stop.store(true);
    rte_eal_mp_wait_lcore();
}

Dispatcher::~Dispatcher() {
    join();
    kernel.reset();
    workers.clear();
    for (size_t i = 0; i < shared.workers; ++i) {
        rte_ring_free(shared.asks[i]);
        rte_ring_free(shared.answers[i]);
        rte_ring_free(shared.handoff[i]);
        rte_ring_free(shared.flow_ends[i]);
        rte_ring_free(shared.flow_asks[i]);
        rte_ring_free(shared.flow_answers[i]);
    }
    moved.reset();
    routes.reset();
    close_ports(ports);
    rte_free(shared.rcu);
}

/// systemd's watchdog is fed only while every worker moves: one that does not is worse than a restart, which
/// keeps the flows.
class Pulse {
  public:
    explicit Pulse(std::vector<const WorkerStats*> workers) : watch_(std::move(workers)) {}

    void every_second() {
        const auto stuck = watch_.stuck();
        seconds_ = stuck ? seconds_ + 1 : 0;
        if (!stuck) return tell_alive();
        if (seconds_ == kWorthSaying) SPDLOG_ERROR("worker {} has ended no turn for {} s", *stuck, seconds_);
    }

  private:
    static constexpr int kWorthSaying = 2;  // one may pass after a SIGCONT
    WorkerWatch watch_;
    int seconds_ = 0;
};

/// Gives huge pages and devices back, whatever ended the process's work.
struct Eal {
    ~Eal() { rte_eal_cleanup(); }
};

/// Of a CPU, for the control thread: it has a few microseconds of work for a move.
constexpr double kUrgentShare = 0.2;

Result<void> serve(const Profile& profile, const std::filesystem::path& run_dir) {
    auto lock = lock_run_directory(run_dir);
    if (!lock) return tl::make_unexpected(lock.error());
    setenv("RUNTIME_DIRECTORY", run_dir.c_str(), 1);  // or the EAL makes a directory in /var/run/dpdk
    if (auto good = start_eal(profile, "keyrail"); !good) return good;
    const Eal eal;
    Dispatcher dispatcher;
    if (auto good = dispatcher.open(profile, run_dir); !good) return good;

    // Keys must not reach a swap disk. On fault: EAL reserves far more address space than it uses.
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        SPDLOG_WARN("memory is not locked: {}", strerror(errno));

    auto loop = EventLoop::create();
    if (!loop) return tl::make_unexpected(loop.error());
    if (auto good = loop->stop_at({SIGTERM, SIGINT}); !good) return good;
    dispatcher.launch();
    ControlLink::Parts parts{.loop = *loop,
                             .ports = dispatcher.ports,
                             .shared = dispatcher.shared,
                             .workers = {},
                             .kernel = dispatcher.kernel.get(),
                             .version = KEYRAIL_VERSION};
    for (const auto& worker : dispatcher.workers) parts.workers.push_back(&worker->stats());
    Pulse pulse(parts.workers);
    auto control = ControlLink::listen(run_dir / "dp.sock", std::move(parts));
    if (!control) return tl::make_unexpected(control.error());
    if (auto good = loop->watch_clock([&pulse] { pulse.every_second(); }); !good) return good;
    SPDLOG_INFO("ready: {} ports, {} workers, {}", dispatcher.ports.list.size(), dispatcher.workers.size(),
                (run_dir / "dp.sock").string());
    std::optional<Urgency> urgency;
    if (profile.urgent) {
        urgency.emplace(kUrgentShare);
        SPDLOG_INFO("moves run at {}", urgency->text());
    }
    tell_ready();
    loop->run(urgency ? &*urgency : nullptr);
    SPDLOG_INFO("stopping");
    tell_stopping();
    dispatcher.join();  // before the control link, which frees the snapshot
    return {};
}

int run(int argc, char** argv) {
    CLI::App app(
        "Keyrail's dispatcher: takes over the ports of a profile and steers TLS clients to their sessions.");
    std::string profile_file, run_dir = "/run/keyrail";
    app.add_option("--profile", profile_file, "hardware profile (examples: hw/profiles/*.toml)")->required();
    app.add_option("--run-dir", run_dir, "directory of dp.sock, where keyraild connects")
        ->capture_default_str();
    app.set_version_flag("--version", std::string("keyrail-dp " KEYRAIL_VERSION));
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;  // as all programs of Keyrail: control/protocol/exit_status.h
    }

    spdlog::set_default_logger(spdlog::stderr_logger_mt("keyrail-dp"));
    spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
    // Keys are in this memory: no core dump, no debugger of another user. Signals only through the loop.
    prctl(PR_SET_DUMPABLE, 0);
    block_signals({SIGTERM, SIGINT});
    signal(SIGPIPE, SIG_IGN);

    auto profile = read_profile(profile_file);
    Result<void> served = profile ? serve(*profile, run_dir) : tl::make_unexpected(profile.error());
    if (served) return 0;
    SPDLOG_ERROR("{}", served.error().message);
    return 1;
}

}  // namespace
}  // namespace keyrail

int main(int argc, char** argv) { return keyrail::run(argc, argv); }
