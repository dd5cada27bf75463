// SPDX-License-Identifier: Apache-2.0
// Daemon: what happens when, and who is told.
#include "control/daemon/core/daemon.h"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/post.hpp>

#include "chassis.pb.h"
#include "control/daemon/core/snapshot.h"
#include "control/repository/pool_key.h"
#include "link.pb.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;
namespace {
constexpr uint64_t kTicksPerCertificateCheck = 3600 * 1000 / Moves::kTick.count();
constexpr uint64_t kTicksPerRotationStep = 3, kTicksPerPurge = 10;
}  // namespace

Daemon::Daemon(asio::io_context& io, Config config, TlsContext tls, Secrets secrets)
    : io_(io),
      file_(std::make_shared<const Config>(std::move(config))),
      config_(file_),
      tls_(std::move(tls)),
      secrets_(std::move(secrets)),
      enrolment_(config_->state_dir / "enrolment.json"),
      certifier_(config_, enrolment_),
      blades_(config_->state_dir / "blades.json"),
      agents_(io.get_executor(), agent_events()),
      dataplane_(io.get_executor(), config_->dataplane,
                 {[this] {
                      if (!settled_) return;
                      publish();
                      moves_.send_directory();
                  },
                  [this](const link::MoveRequest& request) { moves_.request(request, Clock::now()); },
                  [this](const link::FlowAsk& ask) { find_flow(ask); }}),
      moves_(config_, *this, unix_ms() * 1000),
      draining_(io.get_executor(), blades_, agents_, moves_),
      purges_(config_->state_dir / "purges.json"),
      flows_({[this](uint16_t blade, chassis::Envelope message) {
                  return agents_.send(blade, std::move(message)).has_value();
              },
              [this](const link::FlowAnswer& answer) {
                  link::ToDataplane message;
                  *message.mutable_flow_answer() = answer;
                  dataplane_.send(std::move(message));
              }}),
      checkpoints_(config_, *this, repositories_),
      repositories_(io.get_executor(), config_, checkpoints_,
                    [this](uint16_t blade, chassis::Envelope message) {
                        return agents_.send(blade, std::move(message));
                    }),
      settle_timer_(io.get_executor()),
      tick_timer_(io.get_executor()),
      flow_timer_(io.get_executor()),
      wakefulness_(io, config_->stay_awake) {}

Result<void> Daemon::start() {
    if (auto loaded = blades_.load(); !loaded) return loaded;
    if (auto loaded = enrolment_.load(); !loaded) return loaded;
    if (auto loaded = repositories_.load(); !loaded) return loaded;
    if (auto loaded = load_purges(); !loaded) return loaded;
    auto receipts = Receipts::load_or_create(config_->state_dir);
    if (!receipts) return tl::make_unexpected(receipts.error());
    receipts_.emplace(std::move(*receipts));
    auto prepared = prepare(file_, Certificates::kept);
    if (!prepared) return tl::make_unexpected(prepared.error());
    commit(std::move(*prepared));
    for (const chassis::Purge& purge : purges_.of(Purges::kRepositories)) purge_repositories(purge, nullptr);
    dataplane_.start();
    settle_timer_.after(kSettle, [this] { settle(); });
    tick();
    return {};
}

void Daemon::stop() {
    settle_timer_.cancel();
    tick_timer_.cancel();
    flow_timer_.cancel();
    draining_.stop();
    agents_.stop();
    dataplane_.stop();
}

std::chrono::seconds Daemon::uptime() const {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - started_);
}

void Daemon::tick() {
    moves_.tick(Clock::now());
    if (settled_ && moves_.directory_changed()) moves_.send_directory();
    checkpoints_.tick(unix_ms());
    repositories_.tick(unix_ms(), members_);
    tell_continuance();
    if (ticks_ % kTicksPerPurge == 0) purge_again();
    if (blades_.forget_left(unix_ms())) {
        watch_blades({});
        changed();
    }
    if (ticks_ % kTicksPerCertificateCheck == 0) certifier_.keep_own(tls_);
    if (ticks_++ % kTicksPerRotationStep == 0) step_rotation();
    tick_timer_.after(Moves::kTick, [this] { tick(); });
}

// --- agents
// --------------------------------------------------------------------------------------------------------

AgentEvents Daemon::agent_events() {
    AgentEvents events;
    events.refusal = [this](uint16_t blade, const CertificateInfo& shown) { return refusal(blade, shown); };
    events.certificate = [this](const Channel& from, const chassis::CertificateRequest& request) {
        return certify(from, request);
    };
    events.connected = [this](uint16_t blade) {
        blades_.connected(blade);
        const std::string certificate = agents_.certificate(blade);
        members_[blade] = {certificate, recipient_of(certificate)};
        send_keys(blade);
        purge_again();
    };
    events.lost = [this](uint16_t blade) {
        blades_.disconnected(blade);
        members_.erase(blade);
        purging_at_.erase(blade);
        moves_.agent_lost(blade);
        checkpoints_.agent_lost(blade);
        flows_.lost(blade);
        continuance_.forget(blade);
        changed();
    };
    events.message = [this](uint16_t blade, const chassis::Envelope& message) { on_message(blade, message); };
    events.mute = [this](uint16_t blade, bool mute) {
        if (Blade* const known = blades_.find(blade)) known->mute = mute;
    };
    events.silent = [this](uint16_t blade, bool silent) {
        if (blades_.silent(blade, silent)) changed();
    };
    events.gone = [this](uint16_t blade, bool gone) {
        if (blades_.gone(blade, gone)) changed();
    };
    return events;
}

/// Its words are kept, and logged: no more of them than make sense.
void Daemon::hello(uint16_t blade, chassis::AgentHello hello) {
    constexpr size_t kMaxText = 300;
    constexpr int kMaxProblems = 32;
    hello.mutable_version()->resize(std::min(hello.version().size(), kMaxText));
    hello.mutable_kernel()->resize(std::min(hello.kernel().size(), kMaxText));
    if (hello.problems_size() > kMaxProblems)
        hello.mutable_problems()->DeleteSubrange(kMaxProblems, hello.problems_size() - kMaxProblems);
    for (std::string& problem : *hello.mutable_problems()) {
        problem.resize(std::min(problem.size(), kMaxText));
        spdlog::warn("agents: blade {}: {}", blade, problem);
    }
    if (blades_.hello(blade, hello)) changed();
}

void Daemon::on_message(uint16_t blade, const chassis::Envelope& message) {
    switch (message.body_case()) {
        case chassis::Envelope::kAgentHello:
            hello(blade, message.agent_hello());
            break;
        case chassis::Envelope::kHealth:
            if (blades_.health(blade, message.health())) changed();
            if (economics_.health(blade, message.health(), std::chrono::steady_clock::now())) changed();
            break;
        case chassis::Envelope::kAnnounce:
            moves_.announce(blade, message.announce());
            break;
        case chassis::Envelope::kMoveDone:
            moves_.done(blade, message.move_done(), Clock::now());
            break;
        case chassis::Envelope::kPull:
            moves_.pull(blade, message.request(), message.pull(), Clock::now());
            break;
        case chassis::Envelope::kCheckpoint:
            checkpoints_.checkpoint(blade, message.checkpoint(), message.request());
            break;
        case chassis::Envelope::kTransfersRefused:
            moves_.refused(blade, message.transfers_refused());
            break;
        case chassis::Envelope::kFlowsFound:
            flows_.found(blade, message.flows_found());
            break;
        case chassis::Envelope::kPoolKeys:
            repositories_.pool_keys(blade, message.pool_keys(), members_);
            break;
        default:
            spdlog::debug("agents: blade {} sent a message that is not for control", blade);
    }
}

void Daemon::send_keys(uint16_t blade) {
    chassis::Envelope envelope;
    *envelope.mutable_keys() = make_keys(*config_, secrets_, blade);
    envelope.mutable_keys()->set_version(keys_version_);
    if (auto sent = agents_.send(blade, std::move(envelope)); !sent)
        spdlog::warn("agents: {}", sent.error().message);
}

// --- moves
// ---------------------------------------------------------------------------------------------------------

std::optional<uint16_t> Daemon::home(const SessionName& name) const { return secrets_.home(name); }
bool Daemon::connected(uint16_t blade) const { return agents_.connected(blade); }
bool Daemon::uses_sessions(uint16_t blade, const std::string& service) const {
    const auto found = blades_.all().find(blade);
    return found != blades_.all().end() && !found->second.without_hooks(service);
}
Result<void> Daemon::send(uint16_t blade, chassis::Envelope message) {
    const bool moves = message.has_order();
    auto sent = agents_.send(blade, std::move(message));
    if (moves) wakefulness_.needed();
    return sent;
}
void Daemon::send(link::ToDataplane message) { dataplane_.send(std::move(message)); }
void Daemon::drained(uint16_t blade, MoveResult result) { draining_.moved(blade, result); }

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

bool Daemon::restore(const MoveOrder& order, const NotUsed& known) {
    wakefulness_.needed();
    return checkpoints_.restore(order, known);
}

void Daemon::not_restored(uint64_t order_id) { moves_.not_restored(order_id, Clock::now()); }

// --- flows that the dataplane does not know
// ------------------------------------------------------------------------

/// Any blade may have it, also one that is in no pool of the service any more.
void Daemon::find_flow(const link::FlowAsk& ask) {
    constexpr size_t kMaxAsked = 256;  // blades
    std::vector<uint16_t> able, doubtful;
    for (const auto& [id, blade] : blades_.all()) {
        if (blade.gone) continue;
        if (agents_.connected(id) && able.size() < kMaxAsked)
            able.push_back(id);
        else if (blades_.has_taken(id))
            doubtful.push_back(id);
    }
    for (const auto& [id, blade] : blades_.left())
        if (!blade.gone) doubtful.push_back(id);
    if (!flows_.ask(ask, able, doubtful, Clock::now()) || flow_timer_.running()) return;
    flow_timer_.after(std::chrono::microseconds(0), [this] { ask_for_flows(); });
}

/// What was asked in one moment goes out together.
void Daemon::ask_for_flows() {
    constexpr std::chrono::milliseconds kLook{5};
    flows_.flush();
    flows_.tick(Clock::now());
    if (flows_.pending()) flow_timer_.after(kLook, [this] { ask_for_flows(); });
}

// --- the snapshot
// --------------------------------------------------------------------------------------------------

/// Several changes of one moment make one snapshot.
void Daemon::changed() {
    if (!settled_ && blades_.all_reported()) settle();
    if (!settled_ || publishing_) return;
    publishing_ = true;
    asio::post(io_, [this] {
        publishing_ = false;
        publish();
    });
}

void Daemon::settle() {
    if (settled_) return;
    settled_ = true;
    settle_timer_.cancel();
    changed();
    moves_.send_directory();
}

void Daemon::publish() {
    generation_ = std::max(generation_, dataplane_.peer().generation) + 1;
    link::ToDataplane message;
    *message.mutable_snapshot() = make_snapshot(*config_, secrets_, blades_, economics_);
    message.mutable_snapshot()->set_generation(generation_);
    std::vector<std::string> states;
    for (const auto& [id, blade] : blades_.all())
        states.push_back(fmt::format("{} {}", id, blade.gone ? "gone" : text_of(blade.intake())));
    for (const auto& [id, blade] : blades_.left())
        states.push_back(fmt::format("{} {}", id, blade.gone ? "left, gone" : "left"));
    spdlog::info("snapshot {}: blades {}", generation_, fmt::join(states, ", "));
    dataplane_.send(std::move(message));
}

// --- the operator
// --------------------------------------------------------------------------------------------------

Result<void> Daemon::set_draining(uint16_t blade, std::optional<DrainOptions> options) {
    if (auto set = blades_.set_draining(blade, options); !set) return set;
    spdlog::info("operator: blade {} {}", blade,
                 options ? fmt::format("drains, {} sessions per second", options->rate) : "resumes");
    draining_.sync();
    changed();
    return {};
}

namespace {

/// What is made once, at the start.
Result<void> check_fixed(const Config& now, const Config& next) {
    const auto same = [&](bool equal, const char* key) -> Result<void> {
        if (equal) return {};
        return fail("{}: {} cannot change while keyraild runs; restart it", now.file.string(), key);
    };
    auto checked = same(next.run_dir == now.run_dir, "run_dir");
    if (checked) checked = same(next.state_dir == now.state_dir, "state_dir");
    if (checked) checked = same(next.dataplane == now.dataplane, "dataplane");
    if (checked) checked = same(next.metrics == now.metrics, "metrics");
    if (checked) checked = same(next.busy_poll == now.busy_poll, "busy_poll");
    const bool has_lmdb =
        std::ranges::count(now.services, RepositoryKind::lmdb, &ServiceConfig::repository) != 0;
    if (checked) checked = same(!has_lmdb || next.lmdb_bytes == now.lmdb_bytes, "size_mb of [lmdb]");
    return checked;
}

}  // namespace

Result<void> Daemon::reload() {
    auto next = check_config(config_->file);
    if (!next) return fail("{}", fmt::join(next.error(), "\n"));
    if (auto fixed = check_fixed(*config_, *next); !fixed) return fixed;
    auto prepared = prepare(std::make_shared<const Config>(std::move(*next)), Certificates::read_again);
    if (!prepared) return tl::make_unexpected(prepared.error());
    commit(std::move(*prepared));
    spdlog::info("configuration {} applied", config_->file.string());
    return {};
}

Result<void> Daemon::enrolment_changed() {
    auto prepared = prepare(file_, Certificates::kept);
    if (!prepared) return tl::make_unexpected(prepared.error());
    commit(std::move(*prepared));
    return {};
}

/// The repositories come last: to open one makes files.
Result<Daemon::Prepared> Daemon::prepare(ConfigPtr file, Certificates certificates) const {
    Prepared prepared;
    Config merged = *file;
    prepared.problems = enrolment_.merge(merged);
    prepared.file = std::move(file);
    prepared.config = std::make_shared<const Config>(std::move(merged));
    if (certificates == Certificates::read_again) {
        auto loaded = tls_.prepare(prepared.config->tls);
        if (!loaded) return tl::make_unexpected(loaded.error());
        prepared.tls = std::move(*loaded);
    }
    auto listener = agents_.prepare(*prepared.config, tls_);
    if (!listener) return tl::make_unexpected(listener.error());
    prepared.listener = std::move(*listener);
    auto repositories = repositories_.prepare(*prepared.config);
    if (!repositories) return tl::make_unexpected(repositories.error());
    prepared.repositories = std::move(*repositories);
    return prepared;
}

/// What the file says and who was enrolled or revoked, together, and who must hear of it.
void Daemon::commit(Prepared prepared) {
    for (const std::string& problem : prepared.problems) spdlog::warn("enrolment: {}", problem);
    file_ = std::move(prepared.file);
    config_ = std::move(prepared.config);  // refusal() goes by it
    if (prepared.tls) tls_.use(std::move(*prepared.tls));
    certifier_.configure(config_);
    checkpoints_.configure(config_);
    repositories_.commit(config_, std::move(prepared.repositories));
    blades_.configure(*config_, unix_ms());
    watch_blades(std::move(prepared.listener));
    economics_.configure(*config_);
    wakefulness_.configure(config_->stay_awake);
    moves_.configure(config_);
    draining_.sync();
    tell_keys();
}

/// Also those that have left: their flows are theirs until they are gone.
void Daemon::watch_blades(Agents::Prepared listener) {
    std::map<uint16_t, HostPort> left;
    for (const auto& [id, blade] : blades_.left()) left.emplace(id, blade.agent);
    agents_.commit(*config_, left, std::move(listener));
    for (const auto& [id, blade] : config_->blades) {  // that have come back
        blades_.silent(id, agents_.silent(id));
        blades_.gone(id, agents_.gone(id));
    }
}

/// Everybody who goes by keys, addresses and peers hears of them anew.
void Daemon::tell_keys() {
    keys_version_++;
    for (const auto& [id, blade] : config_->blades)
        if (agents_.connected(id)) send_keys(id);
    changed();
}

}  // namespace keyrail
