// SPDX-License-Identifier: Apache-2.0
// Agents: one session coroutine and one watch coroutine per blade.
#include "control/daemon/blades/agents.h"

#include <spdlog/spdlog.h>
#include <time.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <map>

#include "chassis.pb.h"
#include "control/daemon/blades/neighbours.h"
#include "control/protocol/channel.h"
#include "control/protocol/replies.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;
using chassis::Envelope;

namespace {

Envelope::BodyCase answer_to(Envelope::BodyCase question) {
    switch (question) {
        case Envelope::kQuery:
            return Envelope::kQueryReply;
        case Envelope::kList:
            return Envelope::kListReply;
        default:
            return Envelope::kPurgeReply;
    }
}

/// As keyrail-dp, which is on this machine, reads it for cookies.
uint64_t tai_ms() {
    timespec t{};
    clock_gettime(CLOCK_TAI, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1'000'000;
}

}  // namespace

struct Agents::Impl : std::enable_shared_from_this<Agents::Impl> {
    Impl(asio::any_io_executor executor_in, AgentEvents events_in)
        : executor(std::move(executor_in)), events(std::move(events_in)), questions(executor) {}

    struct Watched {
        ChannelPtr channel;  // nullptr: its agent is not connected
        bool was_here = false;
        Clock::time_point heard{}, probed{};
        Clock::time_point answered = Clock::now();  // who was not asked is not gone
        Clock::time_point seen = Clock::now();      // it answered, if only as a neighbour
        bool probing = false, silent = false, gone = false, mute = false;
    };

    asio::any_io_executor executor;
    AgentEvents events;
    Replies<chassis::Envelope> questions;
    Result<Neighbours> neighbours = Neighbours::open();
    std::map<BladeId, HostPort> blades;  // where their agents listen
    std::map<BladeId, Watched> watched;
    std::shared_ptr<Listener> listener;
    HostPort listens_at;
    size_t strangers = 0;
    bool stopped = false, out_of_reach = false;
    Clock::time_point looked = Clock::now();  // when the watch last did

    asio::awaitable<void> serve_stranger(std::shared_ptr<Impl> self, ChannelPtr channel);
    [[nodiscard]] bool let_in(const Channel& channel) const;
    asio::awaitable<void> serve(std::shared_ptr<Impl> self, ChannelPtr channel);
    asio::awaitable<void> watch_all(std::shared_ptr<Impl> self);
    asio::awaitable<void> probe_one(std::shared_ptr<Impl> self, BladeId blade, HostPort at);
    void watch_one(BladeId blade, Watched& state);
    [[nodiscard]] bool nobody_answers(Clock::time_point now) const;
    void forgive_our_own(Clock::time_point now);
    void alive(BladeId blade, Watched& state);
    void answers(BladeId blade, Watched& state);
    void seen(BladeId blade, Watched& state);
    void dispatch(BladeId blade, const ChannelPtr& channel, const chassis::Envelope& message);
};

void Agents::Impl::dispatch(BladeId blade, const ChannelPtr& channel, const chassis::Envelope& message) {
    switch (message.body_case()) {
        case chassis::Envelope::kPing: {
            chassis::Envelope pong;
            pong.set_request(message.request());
            pong.mutable_pong();
            (void)channel->send(std::move(pong));
            break;
        }
        case chassis::Envelope::kPong:
            break;
        case chassis::Envelope::kCertificateRequest: {
            chassis::Envelope reply;
            reply.set_request(message.request());
            *reply.mutable_certificate_reply() = events.certificate(*channel, message.certificate_request());
            (void)channel->send(std::move(reply));
            break;
        }
        case chassis::Envelope::kQueryReply:
        case chassis::Envelope::kListReply:
        case chassis::Envelope::kPurgeReply:
            questions.deliver(message.request(), message, channel.get());
            break;
        default:
            events.message(blade, message);
    }
}

/// One question, one answer.
asio::awaitable<void> Agents::Impl::serve_stranger([[maybe_unused]] std::shared_ptr<Impl> self,
                                                   ChannelPtr channel) {
    if (strangers >= kMaxStrangers) {
        events.turned_away(0, channel->name(), "too many ask for a certificate at once");
        co_return;
    }
    strangers++;
    asio::steady_timer deadline(executor, kStrangerTimeout);
    deadline.async_wait([weak = std::weak_ptr(channel)](const asio::error_code& error) {
        const auto late = weak.lock();
        if (!error && late) late->close();
    });
    Result<chassis::Envelope> message = co_await channel->receive();
    if (!stopped && message && message->has_certificate_request()) {
        dispatch(0, channel, *message);
        wipe(*message);
        channel->finish();
        co_await channel->receive();  // until it has gone, so that the answer gets through
    } else if (!stopped) {
        events.turned_away(0, channel->name(), "it has no certificate, and asks for none");
    }
    strangers--;
}

bool Agents::Impl::let_in(const Channel& channel) const {
    const std::string why = channel.peer().is_blade()
                                ? events.refusal(channel.peer().blade, channel.peer_certificate())
                                : "it is no blade";
    if (!why.empty()) events.turned_away(channel.peer().blade, channel.name(), why);
    return why.empty();
}

asio::awaitable<void> Agents::Impl::serve([[maybe_unused]] std::shared_ptr<Impl> self, ChannelPtr channel) {
    if (channel->peer().is_stranger()) co_return co_await serve_stranger(self, channel);
    if (!let_in(*channel)) co_return;
    const BladeId blade = channel->peer().blade;
    Watched& state = watched[blade];
    if (state.channel) {
        spdlog::info("agents: {} connects anew; the old connection is closed", channel->name());
        questions.fail_all(Error{"its agent connects anew"}, state.channel.get());
        state.channel->close();
        state.channel = nullptr;
        events.lost(blade);
    }
    state.channel = channel;
    spdlog::info("agents: {} is connected", channel->name());
    alive(blade, state);
    events.connected(blade);
    while (true) {
        const Result<chassis::Envelope> message = co_await channel->receive();
        const auto found = watched.find(blade);
        if (stopped || found == watched.end() || found->second.channel != channel) co_return;
        if (!message) {
            spdlog::warn("agents: {}", message.error().message);
            questions.fail_all(message.error(), channel.get());
            found->second.channel = nullptr;
            events.lost(blade);
            co_return;
        }
        alive(blade, found->second);
        dispatch(blade, channel, *message);
    }
}

/// A word from the agent itself.
void Agents::Impl::alive(BladeId blade, Watched& state) {
    state.heard = Clock::now();
    state.was_here = true;
    answers(blade, state);
    if (std::exchange(state.silent, false)) events.silent(blade, false);
}

/// Something on the machine does.
void Agents::Impl::answers(BladeId blade, Watched& state) {
    state.answered = Clock::now();
    seen(blade, state);
}

/// Its machine is there, whatever drops what we say to it: its flows are its own.
void Agents::Impl::seen(BladeId blade, Watched& state) {
    state.seen = Clock::now();
    if (!std::exchange(state.gone, false)) return;
    spdlog::info("agents: blade {} answers again", blade);
    events.gone(blade, false);
}

asio::awaitable<void> Agents::Impl::probe_one([[maybe_unused]] std::shared_ptr<Impl> self, BladeId blade,
                                              HostPort at) {
    if (neighbours) neighbours->ask(at.address);
    const bool answered = co_await somebody_is_there(executor, at, kQuiet);
    const auto found = watched.find(blade);
    if (found == watched.end()) co_return;
    Watched& state = found->second;
    state.probing = false;
    if (answered) {
        answers(blade, state);
    } else if (neighbours && neighbours->answers(at.address)) {
        seen(blade, state);
    }
}

void Agents::Impl::watch_one(BladeId blade, Watched& state) {
    const auto now = Clock::now();
    if (state.channel) {
        chassis::Envelope ping;
        ping.mutable_ping()->set_tai_ms(tai_ms());
        (void)state.channel->send(std::move(ping));
    }
    const bool mute = state.channel && now - state.heard >= kSilent;
    if (std::exchange(state.mute, mute) != mute) {
        if (mute)
            spdlog::warn("agents: the agent of blade {} has not answered for {} ms", blade, kSilent.count());
        events.mute(blade, mute);
    }
    if (state.channel && now - state.heard < kQuiet) return;
    if (!state.probing && (!state.gone || now - state.probed >= kSeldom)) {
        state.probing = true;
        state.probed = now;
        asio::co_spawn(executor, probe_one(shared_from_this(), blade, blades.at(blade)), asio::detached);
    }
    const auto quiet = now - state.answered;
    const bool ours = nobody_answers(now);
    if (!state.silent && state.was_here && quiet >= (ours ? kGone : kSilent)) {
        state.silent = true;
        spdlog::warn("agents: blade {} has not answered for {} ms: it gets nothing new", blade,
                     duration_cast<std::chrono::milliseconds>(quiet).count());
        events.silent(blade, true);
    }
    if (!state.gone && now - state.seen >= kGone && !(ours && watched.size() > 1)) {
        state.gone = true;
        if (state.was_here)
            spdlog::warn("agents: blade {} has not answered for {} ms: its flows are given away", blade,
                         kGone.count());
        events.gone(blade, true);
    }
}

/// All at once: more likely the fault is ours, and to refuse clients would make it worse; nor would a blade
/// be left to take their flows.
bool Agents::Impl::nobody_answers(Clock::time_point now) const {
    return std::ranges::all_of(watched,
                               [&](const auto& entry) { return now - entry.second.answered >= kSilent; });
}

/// We were stopped, had no processor or no way to the blades: what came in the meantime must be read first.
void Agents::Impl::forgive_our_own(Clock::time_point now) {
    const auto late = now - std::exchange(looked, now);
    if (late <= 2 * kWatch && !out_of_reach) return;
    for (auto& [blade, state] : watched) {
        state.heard = std::min(now, state.heard + late);
        state.answered = std::min(now, state.answered + late);
        state.seen = std::min(now, state.seen + late);
    }
}

asio::awaitable<void> Agents::Impl::watch_all([[maybe_unused]] std::shared_ptr<Impl> self) {
    asio::steady_timer timer(executor);
    while (!stopped) {
        forgive_our_own(Clock::now());
        for (auto& [blade, state] : watched) watch_one(blade, state);
        asio::error_code ignored;
        timer.expires_after(kWatch);
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

Agents::Agents(asio::any_io_executor executor, AgentEvents events)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(events))) {
    asio::co_spawn(impl_->executor, impl_->watch_all(impl_), asio::detached);
}

Agents::~Agents() { stop(); }

void Agents::stop() {
    impl_->stopped = true;
    if (impl_->listener) impl_->listener->close();
    for (auto& [blade, state] : impl_->watched)
        if (state.channel) state.channel->close();
    impl_->watched.clear();
}

Result<Agents::Prepared> Agents::prepare(const Config& next, const TlsContext& tls) const {
    if (impl_->listener && impl_->listens_at == next.listen) return Prepared{};
    const std::weak_ptr<Impl> weak = impl_;
    auto opened = Listener::open(
        impl_->executor, tls, next.listen,
        [weak](ChannelPtr channel) -> asio::awaitable<void> {
            if (const auto self = weak.lock()) co_await self->serve(self, std::move(channel));
        },
        [weak](const Error& error) {
            if (const auto self = weak.lock()) self->events.turned_away(0, "somebody", error.message);
        },
        Strangers::admitted);
    if (!opened) return tl::make_unexpected(opened.error());
    return Prepared{*opened, next.listen};
}

void Agents::commit(const Config& config, const std::map<BladeId, HostPort>& left, Prepared prepared) {
    if (prepared.listener) {
        if (impl_->listener) impl_->listener->close();
        impl_->listener = std::move(prepared.listener);
        impl_->listens_at = prepared.at;
        spdlog::info("agents: listening on {}", prepared.at.text());
    }
    impl_->blades = left;
    for (const auto& [id, blade] : config.blades) impl_->blades.insert_or_assign(id, blade.agent);
    for (const auto& [id, at] : impl_->blades) impl_->watched.try_emplace(id);
    for (auto& [blade, state] : impl_->watched) {
        if (!state.channel || impl_->let_in(*state.channel)) continue;
        impl_->questions.fail_all(Error{"it is no blade any more"}, state.channel.get());
        std::exchange(state.channel, nullptr)->close();
        impl_->events.lost(blade);
    }
    std::erase_if(impl_->watched, [&](const auto& entry) { return !impl_->blades.contains(entry.first); });
}

void Agents::within_reach(bool there) {
    if (impl_->out_of_reach == there) impl_->forgive_our_own(Clock::now());  // up to now, as it was
    impl_->out_of_reach = !there;
}

bool Agents::connected(BladeId blade) const {
    const auto found = impl_->watched.find(blade);
    return found != impl_->watched.end() && found->second.channel;
}

bool Agents::silent(BladeId blade) const {
    const auto found = impl_->watched.find(blade);
    return found != impl_->watched.end() && found->second.silent;
}

bool Agents::gone(BladeId blade) const {
    const auto found = impl_->watched.find(blade);
    return found != impl_->watched.end() && found->second.gone;
}

asio::awaitable<Result<void>> Agents::off(BladeId blade) {
    const auto self = impl_;  // this may end first
    asio::steady_timer timer(self->executor);
    for (const auto asked = Clock::now();;) {
        const auto found = self->watched.find(blade);
        if (found == self->watched.end()) co_return fail("there is no blade {}", blade);
        Impl::Watched& state = found->second;
        if (state.gone) co_return Result<void>{};
        if (state.answered > asked)
            co_return fail("blade {} answers: it is not off, and keeps its flows", blade);
        if (Clock::now() - asked >= kSilent) {
            spdlog::warn("agents: blade {} is off, says the operator: its flows are given away", blade);
            state.gone = true;
            self->events.gone(blade, true);
            co_return Result<void>{};
        }
        asio::error_code ignored;
        timer.expires_after(kWatch);
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
}

std::string Agents::certificate(BladeId blade) const {
    return connected(blade) ? impl_->watched.at(blade).channel->peer_certificate().der : "";
}

std::optional<std::chrono::system_clock::time_point> Agents::certificate_until(BladeId blade) const {
    if (!connected(blade)) return std::nullopt;
    return impl_->watched.at(blade).channel->peer_certificate().until;
}

size_t Agents::count() const {
    size_t count = 0;
    for (const auto& [blade, state] : impl_->watched) count += state.channel ? 1 : 0;
    return count;
}

Result<void> Agents::send(BladeId blade, chassis::Envelope message) {
    if (!connected(blade)) return fail("the agent of blade {} is not connected", blade);
    return impl_->watched.at(blade).channel->send(std::move(message));
}

asio::awaitable<Result<chassis::Envelope>> Agents::ask(BladeId blade, chassis::Envelope question,
                                                       std::chrono::milliseconds timeout) {
    const std::shared_ptr<Impl> self = impl_;
    const uint64_t request = self->questions.next();
    question.set_request(request);
    const Envelope::BodyCase asked = question.body_case();
    if (auto sent = send(blade, std::move(question)); !sent) co_return tl::make_unexpected(sent.error());
    const void* const by = self->watched.at(blade).channel.get();
    auto answer =
        co_await self->questions.wait(request, fmt::format("the agent of blade {}", blade), timeout, by);
    if (answer && answer->body_case() != answer_to(asked))
        co_return fail("the agent of blade {} answers something else", blade);
    co_return answer;
}

uint16_t Agents::port() const { return impl_->listener ? impl_->listener->port() : 0; }

}  // namespace keyrail
