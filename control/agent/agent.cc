// SPDX-License-Identifier: Apache-2.0
// Agent: wires its parts together: who hears of what.
#include "control/agent/agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "chassis.pb.h"
#include "control/agent/announcer.h"
#include "control/agent/arrivals.h"
#include "control/agent/assignment.h"
#include "control/agent/checkpoint_feed.h"
#include "control/agent/control_session.h"
#include "control/agent/drainer.h"
#include "control/agent/filter_watch.h"
#include "control/agent/flow_lookup.h"
#include "control/agent/health_report.h"
#include "control/agent/late_binding.h"
#include "control/agent/moving.h"
#include "control/agent/pool_keys.h"
#include "control/agent/pull_server.h"
#include "control/agent/renewal.h"
#include "control/agent/restorer.h"
#include "control/agent/server_check.h"
#include "control/agent/server_watch.h"
#include "control/agent/store_questions.h"
#include "control/agent/store_watch.h"
#include "control/repository/sealer.h"
#include "dataplane/common/name_bytes.h"

namespace keyrail {

namespace {

constexpr uint32_t kMaxPullUs = 1'000'000;       // whatever keyraild says: a server's worker waits
constexpr std::chrono::milliseconds kTick{100};  // store sweep
constexpr int kTicksPerHealth = 10, kTicksPerAttach = 100;
constexpr size_t kListBatch = 2000;

}  // namespace

struct Agent::Impl {
    Impl(asio::io_context& io_in, AgentConfig config_in, TlsContext tls_in, Store store_in)
        : io(io_in),
          config(std::move(config_in)),
          tls(std::move(tls_in)),
          store(std::move(store_in)),
          wakefulness(io, config.stay_awake) {}

    asio::io_context& io;
    const AgentConfig config;
    TlsContext tls;
    Store store;

    // What keyraild assigned, as the parts use it.
    std::optional<Assignment> assigned;
    uint32_t pull_budget_us = 0;
    NameKeys names;
    ServedServices served;
    std::set<std::string> sealed;  // services with a repository

    Wakefulness wakefulness;  // while sessions go or come
    Renewal renewal{config.tls, tls};
    PoolKeys pool_keys{tls};
    LateBinding late_binding{config};
    Drainer drainer;
    FlowLookup flow_lookup;
    StoreWatch store_watch{store, config};
    HealthReport health{store, served};
    Announcer announcer{config, store, late_binding};
    Arrivals arrivals{config.control.address};
    Fences fences;
    Checkpointer checkpointer{store, served, sealed, pool_keys, fences, config.id, wall_clock_ms()};
    CheckpointFeed checkpoints{io.get_executor(), checkpointer};
    Restorer restorer{store, checkpointer, names, fences, config.id};
    Moving moves{io.get_executor(), store,     served,      names,        fences,
                 checkpointer,      config.id, wakefulness, move_events()};
    std::shared_ptr<ServerWatch> servers;
    std::shared_ptr<FilterWatch> filters;
    std::unique_ptr<ServerCheck> checks;
    std::unique_ptr<PullServer> pulls;
    std::unique_ptr<ControlSession> control;
    Timer timer{io.get_executor()};
    int ticks = 0;

    Result<void> start();
    MoveEvents move_events();
    asio::awaitable<void> on_connected(ChannelPtr channel);
    void on_message(chassis::Envelope& message);
    void assign(const chassis::Keys& keys);
    void open_pulls();
    void look_after_store();
    void tell_servers();
    bool ask(uint64_t request, const PullRequest& asked);
    void report(chassis::MoveDone done);
    void find_flows(const chassis::FindFlows& question);
    void servers_changed();
    void send_health();
    void renew_certificate();
    void forget_sessions_of(const std::set<BladeId>& revoked);
    void wrap(const chassis::WrapPoolKey& question);
    void tick();
    void tick_second();
};

Result<void> Agent::Impl::start() {
    store_watch.report();
    if (late_binding.pending()) late_binding.attach(nullptr);
    const auto executor = io.get_executor();
    auto checked = ServerCheck::create(
        executor, [this](const SessionName& name) { return names.home(name).has_value(); },
        [this] { send_health(); });
    if (!checked) return tl::make_unexpected(checked.error());
    checks = std::move(*checked);
    auto watch = ServerWatch::open(executor, [this] { servers_changed(); });
    if (!watch) return tl::make_unexpected(watch.error());
    servers = *watch;
    filters = FilterWatch::open(executor, [this] {
        if (late_binding.filter_changed() && control) control->send(announcer.hello());
    });
    if (auto started = moves.start(tls, config.listen); !started) return started;
    open_pulls();
    control = std::make_unique<ControlSession>(
        executor, tls, config.control,
        ControlEvents{[this](ChannelPtr channel) { return on_connected(std::move(channel)); },
                      [this](chassis::Envelope& message) { on_message(message); },
                      [this](uint64_t tai_ms) { late_binding.clock(tai_ms); }});
    tick();
    checkpoints.start();
    return {};
}

/// Without it servers do not wait for what is not here; it is tried again.
void Agent::Impl::open_pulls() {
    auto opened =
        PullServer::open(io.get_executor(), config.store,
                         [this](uint64_t request, const PullRequest& asked) { return ask(request, asked); });
    if (!opened) return spdlog::warn("{}; servers do without it, trying on", opened.error().message);
    pulls = std::move(*opened);
    tell_servers();
}

// --- moves

MoveEvents Agent::Impl::move_events() {
    MoveEvents events;
    events.arrived = [this](const Arrival& arrival) { arrivals.tell(arrival); };
    // First who waits for it here: keyraild's answer would take a while longer.
    events.stored = [this](const SessionName& name, chassis::MoveDone moved) {
        if (pulls) pulls->stored(name);
        report(std::move(moved));
    };
    events.ended = [this](chassis::MoveDone done) { report(std::move(done)); };
    events.refused = [this](chassis::TransfersRefused refused) {
        chassis::Envelope message;
        *message.mutable_transfers_refused() = std::move(refused);
        control->send(std::move(message));
    };
    return events;
}

void Agent::Impl::report(chassis::MoveDone done) {
    chassis::Envelope message;
    *message.mutable_move_done() = std::move(done);
    control->send(std::move(message));
}

/// A server misses a session: keyraild knows where it is, and has it moved here.
bool Agent::Impl::ask(uint64_t request, const PullRequest& asked) {
    if (!assigned || !control->connected()) return false;
    chassis::Envelope message;
    message.set_request(request);
    chassis::Pull& body = *message.mutable_pull();
    body.set_name(bytes_of(asked.name));
    body.set_tls_version(number_of(asked.tls_version));
    body.set_budget_us(assigned->control.pull_budget_us);
    if (asked.service_slot < assigned->control.services.size())
        body.set_service(served.name(assigned->control.services[asked.service_slot].service));
    control->send(std::move(message));
    wakefulness.needed();
    return true;
}

// --- keyraild

/// Who we are, then which sessions are here though their home is elsewhere, then how we are.
asio::awaitable<void> Agent::Impl::on_connected(ChannelPtr channel) {
    moves.forget_orders();
    (void)channel->send(announcer.hello());  // a broken channel shows in receive()
    Announcer::Walk walk;
    while (!walk.done()) {
        (void)channel->send(announcer.next(walk));
        co_await channel->room();
        if (!channel->is_open()) co_return;  // perhaps because the agent ended
    }
    checkpoints.use(channel);
    if (assigned) send_health();
    renewal.retry();
    renew_certificate();
}

void Agent::Impl::on_message(chassis::Envelope& message) {
    switch (message.body_case()) {
        case chassis::Envelope::kKeys:
            return assign(message.keys());
        case chassis::Envelope::kDrain:
            drainer.set(message.drain());
            return tell_servers();
        case chassis::Envelope::kOrder:
            return moves.order(message.order());
        case chassis::Envelope::kExpect:
            return moves.expect(message.expect());
        case chassis::Envelope::kCheckpointAck:
            return checkpointer.acknowledged(message.request());
        case chassis::Envelope::kQuery:
        case chassis::Envelope::kList:
        case chassis::Envelope::kPurge:
            return control->send(answer_question(store, served, fences, message));
        case chassis::Envelope::kFindFlows:
            return find_flows(message.find_flows());
        case chassis::Envelope::kStale:
            if (const size_t copies = checkpointer.destroy(message.stale()); copies != 0)
                spdlog::warn("checkpoints: {} sessions here were copies that are behind; destroyed", copies);
            return;
        case chassis::Envelope::kRestore:
            report(restorer.restore(message.restore()));
            return wakefulness.needed();
        case chassis::Envelope::kPoolKeys:
            if (pool_keys.replace(message.pool_keys())) checkpointer.start_over();  // sealed anew
            return;
        case chassis::Envelope::kWrapPoolKey:
            return wrap(message.wrap_pool_key());
        case chassis::Envelope::kCertificateReply:
            return renewal.received(message.certificate_reply());
        case chassis::Envelope::kPullReply:
            if (pulls) pulls->answered(message.request(), message.pull_reply().result() == chassis::MOVED);
            return;
        default:
            return;  // of a newer keyraild
    }
}

/// What can fail is done in Assignment::from(): a refused assignment changes nothing.
void Agent::Impl::assign(const chassis::Keys& keys) {
    auto read = Assignment::from(keys, config.id);
    if (!read) return spdlog::error("control: what it assigns cannot be used: {}", read.error().message);
    std::set<BladeId> revoked = read->revoked;  // since the last time
    if (assigned) std::erase_if(revoked, [&](BladeId blade) { return assigned->revoked.contains(blade); });
    assigned.emplace(std::move(*read));
    names.clear();
    for (const auto& [generation, key] : assigned->name_keys) names.set(generation, key);
    served = assigned->served;
    sealed = assigned->sealed;
    pull_budget_us = std::min(keys.pull_budget_us(), kMaxPullUs);
    tell_servers();
    late_binding.program(*assigned);
    moves.configure(assigned->peers);
    servers->watch(assigned->services);
    servers_changed();
    checkpoints.allow();
    forget_sessions_of(revoked);
}

void Agent::Impl::tell_servers() {
    if (!assigned) return;
    drainer.fill(assigned->control);
    assigned->control.pull_budget_us = pulls ? pull_budget_us : 0;
    if (pulls) assigned->control.pull_socket = pulls->number();
    store.set_control(assigned->control);
}

/// What a revoked blade once had, it may have kept a copy of.
void Agent::Impl::forget_sessions_of(const std::set<BladeId>& revoked) {
    if (revoked.empty()) return;
    size_t forgotten = 0;
    Store::Cursor cursor;
    while (!cursor.done())
        for (const SessionInfo& info : store.list(cursor, Store::Which::kMovedIn, kListBatch))
            if (const auto home = names.home(info.name); home && revoked.contains(*home))
                forgotten += store.erase(info.name) ? 1 : 0;
    if (forgotten != 0) spdlog::warn("store: {} sessions of revoked blades are destroyed", forgotten);
}

void Agent::Impl::renew_certificate() {
    if (auto request = renewal.due(std::chrono::system_clock::now())) control->send(std::move(*request));
}

void Agent::Impl::wrap(const chassis::WrapPoolKey& question) {
    auto answer = pool_keys.wrap(question);
    if (!answer) return spdlog::warn("pool keys: {}", answer.error().message);
    chassis::Envelope message;
    *message.mutable_pool_keys() = std::move(*answer);
    control->send(std::move(message));
}

void Agent::Impl::find_flows(const chassis::FindFlows& question) {
    chassis::Envelope answer;
    *answer.mutable_flows_found() = flow_lookup.look(question, std::chrono::steady_clock::now());
    control->send(std::move(answer));
}

void Agent::Impl::send_health() {
    if (!control) return;
    control->send(health.message(servers->servers(), checks->verdicts(), late_binding,
                                 assigned ? assigned->version : 0, moves.cost()));
}

/// Only servers of services that are steered by session are known to speak TLS.
void Agent::Impl::servers_changed() {
    std::set<HostPort> listening;
    for (const auto& [at, server] : servers->servers())
        if (server.listening && server.address_here && assigned && assigned->held.contains(at))
            listening.insert(at);
    checks->watch(listening);
    if (late_binding.servers(listening) && control) control->send(announcer.hello());
    send_health();
}

// --- the clock

void Agent::Impl::tick() {
    store.sweep(wall_clock_ms());
    moves.tick();
    if (++ticks % kTicksPerHealth == 0) tick_second();
    timer.after(kTick, [this] { tick(); });
}

void Agent::Impl::look_after_store() {
    if (!store_watch.look()) return;
    checkpointer.store_replaced();
    tell_servers();
}

void Agent::Impl::tick_second() {
    health.measure(moves.cost().moves);
    if (late_binding.look(checks->connections(), std::chrono::steady_clock::now()))
        control->send(announcer.hello());
    if (assigned) send_health();
    renew_certificate();
    if (!pulls) open_pulls();
    look_after_store();
    if (assigned) drainer.tick(assigned->services);
    if (ticks % kTicksPerAttach != 0 || !late_binding.pending()) return;
    late_binding.attach(assigned ? &*assigned : nullptr);
    servers_changed();                                  // those that listen are probed
    if (late_binding.attached()) control->reconnect();  // keyraild hears of it by a new AgentHello
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::start(asio::io_context& io, AgentConfig config) {
    if (auto proven = prove_sealing(); !proven) return tl::make_unexpected(proven.error());
    auto tls = TlsContext::load(config.tls);
    if (!tls) return tl::make_unexpected(tls.error());
    if (tls->self() != Identity::of_blade(config.id))
        return fail("{}: is the certificate of {}, but [blade] id is {}", config.tls.certificate.string(),
                    tls->self().text(), config.id);
    std::string warning;
    auto store = Store::create(config.store, config.store_bytes, config.server_group, &warning);
    if (!store) return tl::make_unexpected(store.error());
    if (!warning.empty()) spdlog::warn("{}", warning);
    auto impl = std::make_unique<Impl>(io, std::move(config), std::move(*tls), std::move(*store));
    if (auto started = impl->start(); !started) return tl::make_unexpected(started.error());
    return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

}  // namespace keyrail
