// SPDX-License-Identifier: Apache-2.0
// keyrail-loadgen: TLS clients on one DPDK port, the blades that answer them on another, on one core.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_mbuf.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "dataplane/common/hex.h"
#include "dataplane/common/session_name.h"
#include "dataplane/io/eal.h"
#include "tests/support/temp_directory.h"
#include "tools/lib/loadgen/generator.h"

namespace keyrail::loadgen {
namespace {

std::atomic<bool> stopping = false;

struct Arguments {
    std::string front, back, front_mac = "02:00:00:00:b0:01", back_mac = "02:00:00:00:c0:01";
    std::string service = "198.51.100.1:443", bind = "late", affinity, tls = "1.3", name_key, json, command;
    std::string key_share = "X25519MLKEM768";
    uint32_t core = 0, name_generation = 1, megabytes = 256, mbufs = 32768, wait = 30;
    double max_failed = 0;  // percent
    bool no_huge = false, stay = false;
    std::vector<double> rate;
    Options options;
    ScriptOptions script;
};

void describe(CLI::App& app, Arguments& a) {
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app.add_option("--front", a.front,
                   "the clients' DPDK device: 0000:3b:00.0, net_memif0,role=client,socket=/run/front")
        ->required();
    app.add_option("--back", a.back, "the blades' device, written alike")->required();
    app.add_option("--front-mac", a.front_mac,
                   "MAC that clients send to (default: blade 1's, for no dispatcher at all)");
    app.add_option("--back-mac", a.back_mac, "MAC that blades send to (default: the clients')");
    app.add_option("--service", a.service, "IPv4 address and port")->capture_default_str();
    app.add_option("--bind", a.bind,
                   "late: a dispatcher answers SYNs, blades accept a ClientHello without one; early: SYNs go "
                   "to blades; "
                   "proxy: blades get a proxy's own connections")
        ->check(CLI::IsMember({"late", "early", "proxy"}))
        ->capture_default_str();
    app.add_option("--affinity", a.affinity,
                   "which blade a hello must come to: name, the home in its session's name; learned, where "
                   "it came to "
                   "first; none (default: name with --bind late, else none)")
        ->check(CLI::IsMember({"name", "learned", "none"}));
    app.add_option("--blades", a.options.blades, "blades 1 to N; their MACs are 02:00:00:00:b0+(n>>8):n")
        ->check(CLI::Range(1, int{kBlades}))
        ->capture_default_str();
    app.add_option("--tls", a.tls, "1.3: a PSK identity names the session; 1.2: the session id does")
        ->check(CLI::IsMember({"1.2", "1.3"}))
        ->capture_default_str();
    app.add_option(
           "--key-share", a.key_share,
           "of TLS 1.3 hellos: X25519MLKEM768, as clients send today, two segments a hello; or X25519, "
           "one segment")
        ->check(CLI::IsMember({"X25519MLKEM768", "X25519"}))
        ->capture_default_str();
    app.add_option("--name-key", a.name_key, "the chassis' name key, 32 hex digits (default: 101112...1f)");
    app.add_option("--name-generation", a.script.name_generation, "and its generation")
        ->capture_default_str();
    app.add_option("--hellos", a.script.hellos, "different ClientHellos, which take turns")
        ->check(CLI::Range(1, 65536))
        ->capture_default_str();
    app.add_option("--clients", a.options.clients, "client addresses from 100.64.0.0/10, a power of two")
        ->check(CLI::Range(1u, Numbering::kMaxClients))
        ->capture_default_str();
    app.add_option("--connections", a.options.connections, "connections at once, at most")
        ->check(CLI::Range(1, 1 << 22))
        ->capture_default_str();
    app.add_option("--rate", a.rate,
                   "open loop: connections per second, however it goes; two numbers: from one to the other "
                   "during the "
                   "measurement (default: closed loop, a new one whenever one has ended)")
        ->expected(1, 2)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->check(CLI::PositiveNumber);
    app.add_option("--warm-up", a.options.warm_up, "seconds before the measurement")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    app.add_option("--seconds", a.options.seconds, "seconds that are measured")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--timeout-ms", a.options.timeout_ms,
                   "wait for an answer before a client says it again; doubles")
        ->check(CLI::Range(1, 60'000))
        ->capture_default_str();
    app.add_option("--tries", a.options.tries, "times that a thing is said before the connection has failed")
        ->check(CLI::Range(1, 8))
        ->capture_default_str();
    app.add_option("--max-failed", a.max_failed,
                   "percent of the connections that may fail without an exit status of 1")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    app.add_option("--core", a.core, "CPU to run on; it is busy all the time")->capture_default_str();
    app.add_option("--wait", a.wait, "seconds to wait for both devices' links")->capture_default_str();
    app.add_option("--megabytes", a.megabytes, "of huge pages")->capture_default_str();
    app.add_option("--mbufs", a.mbufs, "packet buffers")->capture_default_str();
    app.add_flag("--no-huge", a.no_huge, "ordinary memory (slower, for tests)");
    app.add_option("--json", a.json, "write the report there");
    app.add_flag("--stay", a.stay,
                 "keep the links up behind the report until the input ends: DPDK 22.11's net_memif crashes a "
                 "peer that "
                 "polls while it goes away");
}

Result<MacAddress> mac_of(const std::string& text) {
    rte_ether_addr address;
    if (rte_ether_unformat_addr(text.c_str(), &address) != 0) return fail("'{}' is no MAC address", text);
    return std::to_array(address.addr_bytes);
}

Result<void> read_service(const std::string& text, Options& options) {
    const size_t colon = text.find(':');
    const std::string port = colon == std::string::npos ? "" : text.substr(colon + 1);
    const long number = std::strtol(port.c_str(), nullptr, 10);
    if (inet_pton(AF_INET, text.substr(0, colon).c_str(), &options.service) != 1 || number < 1 ||
        number > 65535)
        return fail("--service {}: must be an IPv4 address and a port, like 198.51.100.1:443", text);
    options.service_port = static_cast<uint16_t>(number);
    return {};
}

/// What CLI11 has no words for.
Result<void> complete(Arguments& a) {
    Options& o = a.options;
    for (const auto& [text, mac] : {std::pair{&a.front_mac, &o.front_mac}, {&a.back_mac, &o.back_mac}}) {
        auto read = mac_of(*text);
        if (!read) return tl::make_unexpected(read.error());
        *mac = *read;
    }
    if (auto good = read_service(a.service, o); !good) return good;
    o.bind = a.bind == "late" ? Bind::late : a.bind == "early" ? Bind::early : Bind::proxy;
    if (a.affinity.empty()) a.affinity = o.bind == Bind::late ? "name" : "none";
    o.affinity = a.affinity == "name"      ? Affinity::name
                 : a.affinity == "learned" ? Affinity::learned
                                           : Affinity::none;
    if (!std::has_single_bit(o.clients)) return fail("--clients {}: must be a power of two", o.clients);
    if (uint64_t{o.clients} << Numbering::kPortBits < uint64_t{o.connections} * 8)
        return fail("{} clients have too few ports for {} connections; raise --clients", o.clients,
                    o.connections);
    if (!a.rate.empty()) o.rate = a.rate.front(), o.to_rate = a.rate.back();
    a.script.tls_version = a.tls == "1.3" ? TlsVersion::tls13 : TlsVersion::tls12;
    a.script.post_quantum = a.key_share == "X25519MLKEM768";
    a.script.blades = o.blades;
    a.script.name_generation = static_cast<uint8_t>(a.name_generation);
    if (a.name_key.empty()) a.name_key = "101112131415161718191a1b1c1d1e1f";
    const auto key = from_hex(a.name_key);
    if (!key || key->size() != kNameKeySize)
        return fail("--name-key: must be {} hex digits", 2 * kNameKeySize);
    a.script.name_key.assign(key->begin(), key->end());
    return {};
}

Result<void> wait_linked(const Port& front, const Port& back, uint32_t seconds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!stopping) {
        if (front.linked() && back.linked()) return {};
        if (std::chrono::steady_clock::now() > deadline)
            return fail("after {} s the {} has no link; is its other end running?", seconds,
                        front.linked() ? "blades' port (--back)" : "clients' port (--front)");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return fail("interrupted while it waited for links");
}

/// One after the other. Where they are joined, DPDK's interrupt thread ends the second one's connection, and
/// would crash if it were closed meanwhile.
void close_ports(std::unique_ptr<Port>& front, std::unique_ptr<Port>& back) {
    back.reset();
    for (int i = 0; i < 10 && front->linked(); i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    front.reset();
}

struct Pool {
    rte_mempool* mbufs = nullptr;
    ~Pool() { rte_mempool_free(mbufs); }
};

void print_interval(const Interval& i) {
    fmt::print(stderr,
               "keyrail-loadgen: {:.1f} s: {} completed, {} failed, life p50 {:.1f} us, p99 {:.1f} us\n",
               i.seconds, i.completed, i.failed, static_cast<double>(i.p50_ns) / 1000,
               static_cast<double>(i.p99_ns) / 1000);
}

Result<void> write_report(const Arguments& a, const Report& report) {
    fmt::print("{}", report.text());
    if (!a.json.empty()) {
        nlohmann::json json = report.json();
        json["command"] = a.command;
        std::ofstream out(a.json);
        out << json.dump(2) << '\n';
        if (!out.flush()) return fail("{} cannot be written", a.json);
    }
    if (!a.stay) return {};
    std::fflush(stdout);
    while (std::getchar() != EOF && !stopping) continue;
    return {};
}

/// Exit status.
int judge(const Arguments& a, const Report& report) {
    const Counts& c = report.counts;
    const double failed =
        c.started == 0 ? 0 : 100.0 * static_cast<double>(c.failures()) / static_cast<double>(c.started);
    if (report.completed != 0 && c.wrong_blade == 0 && failed <= a.max_failed) return 0;
    fmt::print(stderr, "keyrail-loadgen: {}\n",
               report.completed == 0 ? "no connection was completed"
               : c.wrong_blade != 0
                   ? fmt::format("{} ClientHellos came to a wrong blade", c.wrong_blade)
                   : fmt::format("{:.3g} % of the connections failed; --max-failed allows {:g} %", failed,
                                 a.max_failed));
    return 1;
}

Result<int> measure(const Arguments& a, const Script& script) {
    const Pool pool{
        rte_pktmbuf_pool_create("mbufs", a.mbufs, 512, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY)};
    if (pool.mbufs == nullptr)
        return fail("no memory for {} mbufs: {}; raise --megabytes or lower --mbufs", a.mbufs,
                    rte_strerror(rte_errno));
    auto front = Port::open(a.front, pool.mbufs);
    if (!front) return tl::make_unexpected(front.error());
    auto back = Port::open(a.back, pool.mbufs);
    if (!back) return tl::make_unexpected(back.error());
    if (auto linked = wait_linked(**front, **back, a.wait); !linked)
        return tl::make_unexpected(linked.error());
    const auto generator = std::make_unique<Generator>(a.options, script, **front, **back, pool.mbufs);
    const Report report = generator->run(stopping, print_interval);
    auto written = write_report(a, report);
    close_ports(*front, *back);
    if (!written) return tl::make_unexpected(written.error());
    return judge(a, report);
}

Result<int> run(Arguments& a) {
    if (auto good = complete(a); !good) return tl::make_unexpected(good.error());
    const auto script = Script::create(a.script);
    if (!script) return tl::make_unexpected(script.error());
    const testing::TempDirectory scratch;
    setenv("RUNTIME_DIRECTORY", scratch.path().c_str(), 1);  // or the EAL makes a directory in /var/run/dpdk
    Profile profile;
    profile.file = "the command line";
    profile.workers = 0;
    profile.cores = fmt::format("0@{}", a.core);
    for (const std::string& device : {a.front, a.back}) profile.ports.push_back({.device = device});
    profile.huge_pages = !a.no_huge;
    profile.memory_mb = a.megabytes;
    if (auto started = start_eal(profile, "keyrail-loadgen"); !started)
        return tl::make_unexpected(started.error());
    auto status = measure(a, *script);
    rte_eal_cleanup();
    return status;
}

int main(int argc, char** argv) {
    CLI::App app(
        "Whole TLS connections through a dispatcher, by DPDK, on one core: clients on one port, blades on "
        "the other.\n"
        "Exit status 1: it could not run, no connection was completed, one came to a wrong blade, or more "
        "failed "
        "than --max-failed says.");
    Arguments arguments;
    arguments.command = fmt::format("{}", fmt::join(argv, argv + argc, " "));
    describe(app, arguments);
    CLI11_PARSE(app, argc, argv);
    struct sigaction stop{};  // without SA_RESTART: --stay waits in a read
    stop.sa_handler = [](int) { stopping = true; };
    for (const int number : {SIGINT, SIGTERM}) sigaction(number, &stop, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // vhost's, when the other end is gone
    const auto status = run(arguments);
    if (status) return *status;
    fmt::print(stderr, "keyrail-loadgen: {}\n", status.error().message);
    return 1;
}

}  // namespace
}  // namespace keyrail::loadgen

int main(int argc, char** argv) { return keyrail::loadgen::main(argc, argv); }
