// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/control_link.h"

#include <openssl/crypto.h>
#include <rte_ring_elem.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>

#include "dataplane/common/stamp.h"
#include "dataplane/core/move_answers.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/flow/asked_flows.h"
#include "dataplane/link/explaining.h"
#include "dataplane/link/flow_search.h"
#include "dataplane/link/forecaster.h"
#include "dataplane/link/hold_report.h"
#include "dataplane/link/kernel_routes.h"
#include "dataplane/link/published.h"
#include "dataplane/link/seqpacket.h"
#include "dataplane/link/stats_report.h"
#include "dataplane/link/trace_run.h"
#include "dataplane/link/worker_tasks.h"
#include "dataplane/tables/moved_table.h"
#include "link.pb.h"

namespace keyrail {
namespace {

constexpr int kPacketsPerTurn = 64;  // then the other descriptors get their turn

}  // namespace

struct ControlLink::Impl {
    Parts parts;
    std::filesystem::path path;
    Descriptor listener, peer;
    Forecaster forecaster;
    MoveStages stages;
    std::vector<uint8_t> buffer = std::vector<uint8_t>(kMaxPacket);
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    uint64_t connection = 0;  // its number: a late answer is not for the next one
    Published published{parts.shared, parts.kernel, parts.kept};
    WorkerTasks tasks{parts.shared};
    Explaining explaining{parts.shared, parts.ports, tasks, parts.pipeline};
    FlowSearch flow_search{parts.shared, tasks};
    TraceRun tracing{parts.loop, parts.shared, parts.ports, tasks,
                     [this](const link::FromDataplane& message) { return offer(message); }};

    explicit Impl(Parts p) : parts(std::move(p)) {}

    void on_listener();
    void on_peer();
    void disconnect(std::string_view why);
    void send(const link::FromDataplane& message);
    bool offer(const link::FromDataplane& message);
    void answer(uint64_t request, const Result<void>& result);
    void take(size_t size);
    void dispatch(link::ToDataplane& message);
    void apply(const link::MoveOutcome& message);
    void apply(const link::FlowAnswer& message);
    void send_stats(uint64_t request);
    template <typename Answer, typename Put>
    std::function<void(Result<Answer>)> later(uint64_t request, Put put);
    void explain(uint64_t request, const link::ExplainRequest& question);
    void find_flows(uint64_t request, const link::FlowsRequest& question);
    void on_asks();
    void ask(const MoveAsk& ask);
    void ask(const FlowAsk& ask);
};

// --- connection ---

void ControlLink::Impl::on_listener() {
    while (auto fresh = accept_peer(listener.get())) {
        if (peer) disconnect("a new connection replaces it");
        if (!parts.loop.watch(fresh->get(), [this] { on_peer(); })) continue;
        peer = std::move(*fresh);
        connection++;
        SPDLOG_INFO("control connected");
        link::FromDataplane message;
        const Snapshot* snapshot = parts.shared.snapshot.load();
        auto& hello = *message.mutable_hello();
        hello.set_version(parts.version);
        hello.set_snapshot_generation(snapshot == nullptr ? 0 : snapshot->generation);
        hello.set_workers(static_cast<uint32_t>(parts.workers.size()));
        send(message);
        parts.shared.control_connected.store(static_cast<bool>(peer));
    }
}

void ControlLink::Impl::disconnect(std::string_view why) {
    SPDLOG_INFO("control disconnected: {}", why);
    parts.shared.control_connected.store(false);
    parts.loop.forget(peer.get());
    peer.reset();
    tracing.abandon();
}

void ControlLink::Impl::send(const link::FromDataplane& message) {
    if (!peer) return;
    switch (send_message(peer.get(), message)) {
        case Transfer::done:
            return;
        case Transfer::again:
            return disconnect("it does not read what it asked for");
        case Transfer::too_large:
            return disconnect("an answer is larger than a packet may be");
        case Transfer::closed:
            return disconnect("closed");
    }
}

/// What can wait: false where there is no room for it now.
bool ControlLink::Impl::offer(const link::FromDataplane& message) {
    if (!peer) return true;
    const Transfer sent = send_message(peer.get(), message);
    if (sent == Transfer::closed) disconnect("closed");
    return sent != Transfer::again;
}

void ControlLink::Impl::answer(uint64_t request, const Result<void>& result) {
    link::FromDataplane message;
    message.set_request(request);
    if (result) {
        message.mutable_accepted();
    } else {
        SPDLOG_WARN("control message refused: {}", result.error().message);
        message.mutable_refused()->set_reason(result.error().message);
    }
    send(message);
}

void ControlLink::Impl::on_peer() {
    for (int i = 0; i < kPacketsPerTurn && peer; ++i) {
        size_t size = 0;
        switch (receive_packet(peer.get(), buffer, size)) {
            case Transfer::done:
                take(size);
                OPENSSL_cleanse(buffer.data(), size);  // snapshots contain keys
                break;
            case Transfer::too_large:
                OPENSSL_cleanse(buffer.data(), buffer.size());
                answer(0, fail("a message of {} bytes; {} are the most", size, kMaxPacket));
                break;
            case Transfer::again:
                return;
            case Transfer::closed:
                return disconnect("closed by keyraild");
        }
    }
}

void ControlLink::Impl::take(size_t size) {
    link::ToDataplane message;
    if (message.ParseFromArray(buffer.data(), static_cast<int>(size))) {
        dispatch(message);
    } else {
        answer(0, fail("a packet of {} bytes is not a ToDataplane message", size));
    }
    if (message.has_snapshot()) wipe_keys(*message.mutable_snapshot());
}

void ControlLink::Impl::dispatch(link::ToDataplane& message) {
    switch (message.body_case()) {
        case link::ToDataplane::kSnapshot:
            return answer(message.request(), published.take(message.snapshot()));
        case link::ToDataplane::kMovedEntries:
            return answer(message.request(), published.take(message.moved_entries()));
        case link::ToDataplane::kMoveOutcome:
            return apply(message.move_outcome());
        case link::ToDataplane::kStatsRequest:
            return send_stats(message.request());
        case link::ToDataplane::kFlowAnswer:
            return apply(message.flow_answer());
        case link::ToDataplane::kExplainRequest:
            return explain(message.request(), message.explain_request());
        case link::ToDataplane::kFlowsRequest:
            return find_flows(message.request(), message.flows_request());
        case link::ToDataplane::kTraceStart:
            return answer(message.request(), tracing.start(message.trace_start()));
        case link::ToDataplane::kTraceStop:
            tracing.stop("it was stopped");
            return answer(message.request(), {});
        case link::ToDataplane::BODY_NOT_SET:
            break;
    }
    answer(message.request(),
           fail("a message without a body, or of a kind that version {} does not know", parts.version));
}

// --- messages ---

void ControlLink::Impl::apply(const link::MoveOutcome& message) {
    parts.loop.nothing_soon();  // others that are under way are late, or wake us
    const MoveId id(message.move_id());
    const uint32_t worker = id.worker();
    if (worker >= parts.workers.size()) {
        SPDLOG_WARN("move outcome for worker {}, which does not exist", worker);
        return;
    }
    MoveAnswer answer{.move_id = id, .holder = 0, .moved = 0, .heard_ns = stamp_ns()};
    stages.add(stages.from_keyraild, message.sent_ns(), answer.heard_ns);
    if (message.result() == link::MOVED) {
        if (auto good = check_moved(message.now()); !good) {
            SPDLOG_WARN("move outcome: {}", good.error().message);
        } else {
            // A full table costs the next connection its resumption, not this one: the hold knows the holder.
            if (auto stored = published.set_moved(message.now()); !stored)
                SPDLOG_WARN("{}", stored.error().message);
            answer.holder = BladeId::or_none(message.now().holder());
            answer.moved = 1;
        }
    }
    answer_worker(answer, parts.shared);
}

void ControlLink::Impl::apply(const link::FlowAnswer& message) {
    const FlowAskId id(message.ask_id());
    const uint32_t worker = id.worker();
    const Snapshot* snapshot = parts.shared.snapshot.load();
    const bool known = snapshot != nullptr && message.blade() <= BladeId::kMax &&
                       (message.blade() == 0 || snapshot->blades[message.blade()].known);
    if (worker >= parts.workers.size() || !known) {
        SPDLOG_WARN("flow answer: blade {} or worker {} does not exist", message.blade(), worker);
        return;
    }
    FlowAnswer answer{.ask_id = id,
                      .blade = BladeId::or_none(message.blade()),
                      .time_wait = message.time_wait(),
                      .unused = {}};
    // A full ring means a worker that stands still; its packets' time ends it.
    rte_ring* ring = parts.shared.flow_answers[worker];
    if (ring != nullptr) rte_ring_enqueue_elem(ring, &answer, sizeof answer);
}

void ControlLink::Impl::send_stats(uint64_t request) {
    link::FromDataplane message;
    message.set_request(request);
    report_stats(parts.workers, parts.ports, parts.shared, *message.mutable_stats());
    report_stages(parts.workers, stages, *message.mutable_stats());
    const auto age = std::chrono::steady_clock::now() - started;
    message.mutable_stats()->set_uptime_s(
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(age).count()));
    send(message);
}

/// Answers what could not be answered at once, unless another keyraild is there by now.
template <typename Answer, typename Put>
std::function<void(Result<Answer>)> ControlLink::Impl::later(uint64_t request, Put put) {
    return [this, request, put, asked_by = connection](Result<Answer> answer) {
        if (asked_by != connection) return;
        link::FromDataplane message;
        message.set_request(request);
        if (answer)
            put(message, std::move(*answer));
        else
            message.mutable_refused()->set_reason(answer.error().message);
        send(message);
    };
}

void ControlLink::Impl::explain(uint64_t request, const link::ExplainRequest& question) {
    explaining.ask(question,
                   later<link::Explained>(request, [](link::FromDataplane& to, link::Explained told) {
                       *to.mutable_explained() = std::move(told);
                   }));
}

void ControlLink::Impl::find_flows(uint64_t request, const link::FlowsRequest& question) {
    flow_search.ask(question,
                    later<link::FlowsFound>(request, [](link::FromDataplane& to, link::FlowsFound told) {
                        *to.mutable_flows_found() = std::move(told);
                    }));
}

// --- asks ---

void ControlLink::Impl::on_asks() {
    uint64_t count = 0;
    // Reset before the rings are read: what comes meanwhile wakes us again.
    if (read(parts.shared.wake_control, &count, sizeof count) < 0 && errno != EAGAIN) return;
    tasks.look();
    for (size_t worker = 0; worker < parts.workers.size(); ++worker) {
        MoveAsk wanted;
        while (rte_ring_dequeue_elem(parts.shared.asks[worker], &wanted, sizeof wanted) == 0) ask(wanted);
        rte_ring* flows = parts.shared.flow_asks[worker];
        FlowAsk whose;
        while (flows != nullptr && rte_ring_dequeue_elem(flows, &whose, sizeof whose) == 0) ask(whose);
    }
}

void ControlLink::Impl::ask(const MoveAsk& ask) {
    const Snapshot* snapshot = parts.shared.snapshot.load();
    if (!peer || snapshot == nullptr) return;  // the hold budget ends it
    const Service* service = snapshot->service(ask.service);
    if (service == nullptr) {
        answer_worker({.move_id = ask.move_id, .holder = 0, .moved = 0}, parts.shared);
        return;
    }
    link::FromDataplane message;
    auto& request = *message.mutable_move_request();
    request.set_move_id(ask.move_id.number());
    request.set_name(ask.name.data(), ask.name.size());
    request.set_from(ask.from);
    request.set_to(ask.to);
    request.set_service(service->name);
    request.set_tls_version(number_of(ask.tls_version));
    request.set_budget_us(ask.budget_us);
    const uint64_t now_ns = stamp_ns();
    stages.add(stages.to_control, ask.asked_ns, now_ns);
    request.set_sent_ns(now_ns);
    request.set_token(ask.token);
    request.set_arrival_port(kArrivalPort);
    // A keyraild that is behind gets no more to do; this hold, too, ends by its budget.
    if (send_message(peer.get(), message) == Transfer::closed) return disconnect("closed");
    parts.loop.expect_soon();
}

void ControlLink::Impl::ask(const FlowAsk& ask) {
    const Snapshot* snapshot = parts.shared.snapshot.load();
    const Service* service = snapshot != nullptr ? snapshot->service(ask.service) : nullptr;
    if (!peer || service == nullptr) return;  // the packet's time ends it
    const auto bytes = [&](const Address& address) {
        return std::string(address.begin() + (ask.ipv6 ? 0 : 12), address.end());
    };
    link::FromDataplane message;
    auto& whose = *message.mutable_flow_ask();
    whose.set_ask_id(ask.ask_id.number());
    whose.set_service(service->name);
    whose.set_client(bytes(ask.tuple.source));
    whose.set_client_port(ask.tuple.source_port);
    whose.set_address(bytes(ask.tuple.destination));
    whose.set_port(ask.tuple.destination_port);
    whose.set_budget_us(AskedFlows::kWaitUs);
    if (send_message(peer.get(), message) == Transfer::closed) disconnect("closed");
}

// --- public ---

ControlLink::ControlLink() = default;

Result<std::unique_ptr<ControlLink>> ControlLink::listen(const std::filesystem::path& socket, Parts parts) {
    auto listener = listen_seqpacket(socket);
    if (!listener) return tl::make_unexpected(listener.error());
    std::unique_ptr<ControlLink> control(new ControlLink);
    control->impl_ = std::make_unique<Impl>(std::move(parts));
    Impl& impl = *control->impl_;
    impl.path = socket;
    impl.listener = std::move(*listener);
    auto good = impl.parts.loop.watch(impl.listener.get(), [&impl] { impl.on_listener(); });
    if (good) good = impl.parts.loop.watch(impl.parts.shared.wake_control, [&impl] { impl.on_asks(); });
    if (good) {
        good = impl.parts.loop.watch_clock([&impl] {
            impl.parts.shared.moved->sweep(unix_now());
            impl.tasks.look();
            if (const Snapshot* snapshot = impl.parts.shared.snapshot.load(); snapshot != nullptr)
                impl.forecaster.tick(*snapshot, impl.parts.workers, impl.parts.shared.forecast);
            if (impl.parts.kernel != nullptr) impl.parts.kernel->tick();
        });
    }
    for (const int fd :
         impl.parts.kernel == nullptr ? std::vector<int>{} : impl.parts.kernel->descriptors()) {
        if (good) good = impl.parts.loop.watch(fd, [&impl] { impl.parts.kernel->on_readable(); });
    }
    if (!good) return tl::make_unexpected(good.error());
    if (impl.parts.flows_go_on) impl.published.go_on();
    return control;
}

ControlLink::~ControlLink() {
    if (!impl_) return;
    unlink(impl_->path.c_str());
    delete impl_->parts.shared.snapshot.exchange(nullptr);
}

}  // namespace keyrail
