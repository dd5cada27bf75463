// SPDX-License-Identifier: Apache-2.0
// Daemon: its parts, how they hear of each other, and what happens with time. What agents say is in
// agent_messages.cc, what a new configuration changes in applying.cc, who may be a blade in membership.cc.
#include "control/daemon/core/daemon.h"

#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include "chassis.pb.h"
#include "control/protocol/event_loop.h"
#include "link.pb.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;
namespace {
constexpr uint64_t kTicksPerCertificateCheck = 3600 * 1000 / Moves::kTick.count();
constexpr uint64_t kTicksPerRotationStep = 3, kTicksPerPurge = 10;
}  // namespace

Daemon::Daemon(asio::io_context& io, Config config, TlsContext tls, Secrets secrets, History history)
    : io_(io),
      file_(std::make_shared<const Config>(std::move(config))),
      config_(file_),
      tls_(std::move(tls)),
      secrets_(std::move(secrets)),
      enrolment_(config_->state_dir / "enrolment.json"),
      certifier_(config_, enrolment_),
      blades_(config_->state_dir / "blades.json"),
      before_(config_->state_dir / "configured.json"),
      agents_(io.get_executor(), agent_events()),
      dataplane_(io.get_executor(), config_->dataplane,
                 {[this] {
                      events_.add("dataplane.connected", Events::kNobody, "keyrail-dp is connected");
                      agents_.within_reach(true);
                      if (!settled()) return;
                      publisher_.publish();
                      moves_.send_directory();
                  },
                  [this] {
                      events_.add("dataplane.gone", Events::kNobody,
                                  "keyrail-dp is not connected any more; is it running?");
                      agents_.within_reach(false);
                  },
                  [this](const link::MoveRequest& request) { moves_.request(request, Clock::now()); },
                  [this](const link::FlowAsk& ask) { flows_.ask(ask); }}),
      moves_(config_, *this, unix_ms() * 1000),
      draining_(io.get_executor(), blades_, agents_, moves_),
      flows_(io.get_executor(), blades_, agents_,
             [this](const link::FlowAnswer& answer) {
                 link::ToDataplane message;
                 *message.mutable_flow_answer() = answer;
                 dataplane_.send(std::move(message));
             }),
      checkpoints_(config_, *this, repositories_),
      repositories_(
          io.get_executor(), config_, checkpoints_, before_, [this] { keep_configured(); },
          [this](BladeId blade, chassis::Envelope message) {
              return agents_.send(blade, std::move(message));
          }),
      purging_(io, config_,
               {agents_, moves_, checkpoints_, repositories_,
                [this] {
                    if (settled()) moves_.send_directory();
                }}),
      publisher_(io.get_executor(), config_, {secrets_, blades_, economics_}, dataplane_,
                 [this] { moves_.send_directory(); }),
      applying_(io.get_executor(), std::move(history), *this, events_),
      tick_timer_(io.get_executor()),
      wakefulness_(io, config_->stay_awake) {}

Result<void> Daemon::start() {
    if (auto loaded = blades_.load(); !loaded) return loaded;
    if (auto loaded = enrolment_.load(); !loaded) return loaded;
    if (auto loaded = repositories_.load(); !loaded) return loaded;
    if (auto loaded = purging_.load(); !loaded) return loaded;
    if (auto loaded = before_.load(); !loaded) return loaded;
    auto receipts = Receipts::load_or_create(config_->state_dir);
    if (!receipts) return tl::make_unexpected(receipts.error());
    receipts_.emplace(std::move(*receipts));
    auto prepared = prepare(file_, Certificates::kept);
    if (!prepared) return tl::make_unexpected(prepared.error());
    agents_.within_reach(false);  // before keyrail-dp is there
    commit(std::move(*prepared));
    dataplane_.start();
    publisher_.start();
    tick();
    return {};
}

void Daemon::stop() {
    publisher_.stop();
    tick_timer_.cancel();
    flows_.stop();
    applying_.stop();
    draining_.stop();
    agents_.stop();
    dataplane_.stop();
}

std::chrono::seconds Daemon::uptime() const {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_);
}

void Daemon::tick() {
    moves_.tick(Clock::now());
    if (settled() && moves_.directory_changed()) moves_.send_directory();
    checkpoints_.tick(unix_ms());
    repositories_.tick(unix_ms(), members_);
    tell_continuance();
    if (settled()) watch_states();
    if (ticks_ % kTicksPerPurge == 0) {
        purging_.again();
        keep_configured();
    }
    if (blades_.forget_left(unix_ms())) {
        watch_blades({});
        changed();
    }
    if (ticks_ % kTicksPerCertificateCheck == 0) certifier_.keep_own(tls_);
    if (ticks_ % kTicksPerCertificateCheck == kTicksPerCertificateCheck / 60) watch_certificates();
    if (ticks_++ % kTicksPerRotationStep == 0) step_rotation();
    tick_timer_.after(Moves::kTick, [this] { tick(); });
}

// --- of the moves ---

std::optional<BladeId> Daemon::home(const SessionName& name) const { return secrets_.home(name); }
bool Daemon::connected(BladeId blade) const { return agents_.connected(blade); }
bool Daemon::uses_sessions(BladeId blade, const std::string& service) const {
    const auto found = blades_.all().find(blade);
    return found != blades_.all().end() && !found->second.without_hooks(service);
}
Result<void> Daemon::send(BladeId blade, chassis::Envelope message) {
    const bool moves = message.has_order();
    auto sent = agents_.send(blade, std::move(message));
    if (moves) wakefulness_.needed();
    if (moves && moves_.orders().few_wait()) expect_soon();
    return sent;
}
void Daemon::send(link::ToDataplane message) { dataplane_.send(std::move(message)); }
void Daemon::drained(BladeId blade, MoveResult result) { draining_.moved(blade, result); }

void Daemon::tell_continuance() {
    for (const auto& [id, blade] : blades_.all()) {
        const auto update = blade.connected ? continuance_.pending_update(blade, unix_ms()) : std::nullopt;
        if (!update) continue;
        chassis::Envelope envelope;
        envelope.mutable_drain()->set_renew_tickets(update->renew_tickets);
        envelope.mutable_drain()->set_close_idle(update->close_idle);
        if (auto sent = agents_.send(id, std::move(envelope)); !sent) continuance_.forget(id);
    }
}

void Daemon::watch_states() {
    const auto now = Clock::now();
    events_.tick(now);
    states_.look(*config_, blades_, now, [this](BladeId id) { return draining_.progress(id); });
    for (const auto& [kind, queue] : repositories_.all().all())
        states_.repository(kind == RepositoryKind::redis ? "redis" : "lmdb", queue->stats().up,
                           queue->stats().problem);
    states_.keys(secrets_.coming() ? waits_for_keys() : std::vector<std::string>{}, now);
}

/// Those that renew themselves are never so old.
void Daemon::watch_certificates() {
    constexpr auto kNear = std::chrono::hours(14 * 24);
    const auto soon = std::chrono::system_clock::now() + kNear;
    const auto look = [&](std::optional<std::chrono::system_clock::time_point> until,
                          const std::string& whose, Events::About about) {
        if (until && *until < soon)
            events_.add("certificate.expiring", Events::kNobody,
                        fmt::format("the certificate of {} ends on {:%Y-%m-%d}", whose, *until), about);
    };
    look(tls_.ca_until(), "the CA", {0, "ca"});
    look(tls_.certificate().until, "keyraild", {0, "keyraild"});
    for (const auto& [id, blade] : blades_.all())
        look(agents_.certificate_until(id), fmt::format("blade {}", id), {id});
}

bool Daemon::restore(const MoveOrder& order, const NotUsed& known) {
    wakefulness_.needed();
    return checkpoints_.restore(order, known);
}

void Daemon::not_restored(uint64_t order_id) { moves_.not_restored(order_id, Clock::now()); }

Result<void> Daemon::set_draining(BladeId blade, std::optional<DrainOptions> options) {
    if (auto set = blades_.set_draining(blade, options); !set) return set;
    draining_.sync();
    changed();
    return {};
}

/// What was not written is tried again.
void Daemon::keep_configured() {
    const auto saved = before_.save();
    if (saved) return;
    if (const auto times = log_.happened(saved.error().message))
        spdlog::warn("configured before: {}{}; after a restart of keyraild it is not known",
                     saved.error().message, times_text(*times));
}

asio::awaitable<Purging::Answer> Daemon::purge(chassis::Purge what) {
    return purging_.purge(std::move(what));
}

}  // namespace keyrail
