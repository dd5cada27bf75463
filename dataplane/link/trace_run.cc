// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/trace_run.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <utility>

namespace keyrail {
namespace {

/// Puts a tracer into a worker, or takes it out.
struct TracerTask : WorkerTask {
    explicit TracerTask(std::shared_ptr<Tracer> which) : tracer(std::move(which)) {
        run = [](WorkerTask& task, Context& context) {
            Tracer* const mine = static_cast<TracerTask&>(task).tracer.get();
            context.packet_trace = mine;
            context.trace.tell_to(static_cast<ExitListener*>(mine));
        };
    }
    std::shared_ptr<Tracer> tracer;  // nullptr: out
};

std::string_view text_of(Stage stage) {
    static constexpr std::array<std::string_view, 6> kNames = {"none",   "parse",  "bind",
                                                               "settle", "egress", "tx"};
    return kNames[static_cast<size_t>(stage)];
}
std::string_view text_of(Action action) {
    static constexpr std::array<std::string_view, 6> kNames = {"drop", "forward", "reply",
                                                               "punt", "hold",    "handoff"};
    return kNames[static_cast<size_t>(action)];
}

std::string bytes_of(const Address& address, bool ipv6) {
    return {address.begin() + (ipv6 ? 0 : 12), address.end()};
}

void add_hello(link::TraceRecord& to, const trace::TracedHello& hello) {
    to.set_hello(true);
    to.set_server_name(hello.server_name.data(), hello.server_name_size);
    if (hello.name != SessionName{}) to.set_name(hello.name.data(), hello.name.size());
    to.set_holder(hello.holder);
    to.set_moved(hello.moved);
    to.set_move(hello.move);
    to.set_tls_version(number_of(hello.tls_version));
}

}  // namespace

TraceRun::TraceRun(EventLoop& loop, const Shared& shared, const Ports& ports, WorkerTasks& tasks,
                   std::function<bool(const link::FromDataplane&)> send)
    : loop_(loop), shared_(shared), ports_(ports), tasks_(tasks), send_(std::move(send)) {}

TraceRun::~TraceRun() {
    if (timer_) loop_.forget(timer_.get());
}

Result<void> TraceRun::start(const link::TraceStart& wish) {
    if (state_ != State::idle) return fail("a trace is under way");
    if (wish.packets() == 0 || wish.packets() > (wish.snap() != 0 ? kMostCaptured : kMostPackets))
        return fail("a trace is of 1 to {} packets, a capture of {}", kMostPackets, kMostCaptured);
    if (wish.seconds() == 0 || wish.seconds() > kMostSeconds)
        return fail("a trace lasts 1 s to {} s", kMostSeconds);
    if (wish.snap() > kMostSnap) return fail("{} bytes of a packet are kept at most", kMostSnap);
    auto filter = trace::Filter::read(wish.filter());
    if (!filter) return tl::make_unexpected(filter.error());
    timer_ = Descriptor(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    const timespec period{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(kPeriod).count()};
    const itimerspec times{.it_interval = period, .it_value = period};
    if (!timer_ || timerfd_settime(timer_.get(), 0, &times, nullptr) != 0) return fail("no timer is left");
    if (auto watched = loop_.watch(timer_.get(), [this] { every_moment(); }); !watched) return watched;
    limits_ = std::make_shared<Tracer::Limits>();
    limits_->packets = wish.packets();
    limits_->snap = static_cast<uint16_t>(wish.snap());
    for (uint16_t worker = 0; worker < shared_.workers; worker++)
        tracers_.push_back(std::make_shared<Tracer>(*filter, limits_));
    ends_ = Clock::now() + std::chrono::seconds(wish.seconds());
    state_ = State::running;
    heard_ = true;
    for (uint16_t worker = 0; worker < shared_.workers; worker++)
        tasks_.give(worker, std::make_shared<TracerTask>(tracers_[worker]), nullptr);
    return {};
}

void TraceRun::stop(std::string why) {
    if (state_ != State::running) return;
    state_ = State::stopping;
    why_ = std::move(why);
    const auto missing = std::make_shared<size_t>(shared_.workers);
    for (uint16_t worker = 0; worker < shared_.workers; worker++)
        tasks_.give(worker, std::make_shared<TracerTask>(nullptr), [this, missing] {
            if (--*missing == 0) state_ = State::stopped;
        });
}

void TraceRun::abandon() {
    heard_ = false;
    unsent_.reset();
    stop("");
}

void TraceRun::every_moment() {
    uint64_t expirations = 0;
    [[maybe_unused]] const ssize_t got = read(timer_.get(), &expirations, sizeof expirations);
    tasks_.look();
    if (state_ == State::running && Clock::now() >= ends_) stop("its time is over");
    if (state_ == State::running && limits_->taken.load(std::memory_order_relaxed) >= limits_->packets)
        stop("it has its packets");
    const bool over = state_ == State::stopped;  // before: nothing comes after what is taken now
    if (send_records() && over) forget();
}

/// True: all is told that there was.
bool TraceRun::send_records() {
    if (!heard_) return true;
    const bool over = state_ == State::stopped;
    const int most = limits_->snap != 0 ? kCapturedAtOnce : kAtOnce;
    for (;;) {
        if (unsent_ && !send_(*unsent_)) return false;
        unsent_.reset();
        link::FromDataplane message;
        link::TraceRecords& records = *message.mutable_trace_records();
        for (uint16_t worker = 0; worker < tracers_.size(); worker++) {
            const auto use = [&](const trace::TracedPacket& record, std::span<const uint8_t> frame) {
                add(records, worker, record, frame);
            };
            while (records.records_size() < most && tracers_[worker]->take(use)) {
            }
            records.set_lost(records.lost() + tracers_[worker]->lost());
        }
        const bool last = records.records_size() < most;
        if (last && over) records.set_ended(why_);
        if (records.records_size() != 0 || (last && over)) unsent_ = std::move(message);
        if (last && !unsent_) return true;
        if (last) {
            if (!send_(*unsent_)) return false;
            unsent_.reset();
            return true;
        }
    }
}

void TraceRun::add(link::TraceRecords& records, uint16_t worker, const trace::TracedPacket& record,
                   std::span<const uint8_t> frame) {
    link::TraceRecord& to = *records.add_records();
    const Headers& h = record.headers;
    to.set_unix_ns(record.arrived_ns);
    to.set_waited_us(record.waited_us);
    to.set_worker(worker);
    to.set_port(ports_.list[record.port].name);
    to.set_size(record.size);
    if (h.layout != Layout::not_ip && h.layout != Layout::truncated) {
        to.set_source(bytes_of(h.tuple.source, h.ipv6));
        to.set_destination(bytes_of(h.tuple.destination, h.ipv6));
        to.set_source_port(h.tuple.source_port);
        to.set_destination_port(h.tuple.destination_port);
    }
    to.set_tcp(h.layout == Layout::tcp);
    if (h.layout == Layout::tcp) {
        to.set_flags(h.flags);
        to.set_seq(h.seq.value());
        to.set_ack(h.ack.value());
        to.set_payload(h.payload_size);
    }
    to.set_stage(std::string(text_of(record.exit.stage)));
    to.set_action(std::string(text_of(record.exit.action)));
    to.set_reason(std::string(kReasonTexts[static_cast<size_t>(record.exit.reason)].name));
    to.set_blade(record.exit.blade);
    if (record.hello.known) add_hello(to, record.hello);
    to.set_frame(frame.data(), frame.size());
}

void TraceRun::forget() {
    loop_.forget(timer_.get());
    timer_.reset();
    tracers_.clear();
    unsent_.reset();
    state_ = State::idle;
}

}  // namespace keyrail
