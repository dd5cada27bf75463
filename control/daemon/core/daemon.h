// SPDX-License-Identifier: Apache-2.0
// Daemon: keyraild put together. Desired state comes from the configuration and the operator, actual state
// comes from the agents; both meet in the snapshot that the dataplane gets. One thread runs everything but
// the API's HTTP parsing.
#pragma once

#include <asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "control/daemon/blades/agents.h"
#include "control/daemon/blades/blades.h"
#include "control/daemon/blades/continuance.h"
#include "control/daemon/blades/flow_questions.h"
#include "control/daemon/config/config.h"
#include "control/daemon/core/dataplane_link.h"
#include "control/daemon/core/publisher.h"
#include "control/daemon/core/purging.h"
#include "control/daemon/core/state_watch.h"
#include "control/daemon/events/events.h"
#include "control/daemon/history/applying.h"
#include "control/daemon/keys/key_rotation.h"
#include "control/daemon/keys/receipts.h"
#include "control/daemon/keys/secrets.h"
#include "control/daemon/membership/certifier.h"
#include "control/daemon/moves/checkpoints.h"
#include "control/daemon/moves/configured_before.h"
#include "control/daemon/moves/draining.h"
#include "control/daemon/moves/economics.h"
#include "control/daemon/moves/moves.h"
#include "control/daemon/moves/repository_keeper.h"
#include "control/protocol/seldom.h"
#include "control/protocol/timer.h"
#include "control/protocol/tls_context.h"
#include "control/protocol/wakefulness.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Daemon : private CheckpointHost, private MoveHost, private ApplyHost {
  public:
    Daemon(asio::io_context& io, Config config, TlsContext tls, Secrets secrets, History history);
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    /// Reads the kept state, listens, connects.
    Result<void> start();
    void stop();

    /// nullopt: the blade takes new clients again.
    Result<void> set_draining(BladeId blade, std::optional<DrainOptions> options);

    /// Destroys sessions on every blade and in the repositories, and what is under way of them. The answer
    /// comes when that is so, or says where it is not; there it is done as soon as that blade or repository
    /// is back.
    asio::awaitable<Purging::Answer> purge(chassis::Purge what);

    /// A token for `keyrail-agent join`; the secret is in it.
    Result<std::string> invite(const Enrolment::Wish& wish);
    /// Cuts the blade off, here and at every agent, for good: until it is enrolled anew.
    Result<void> revoke(BladeId blade);
    /// New name and cookie keys, as soon as everybody has them.
    Result<void> rotate_keys();
    /// Who does not have the latest keys yet.
    [[nodiscard]] std::vector<std::string> waits_for_keys() const;

    [[nodiscard]] const Config& config() const { return *config_; }
    [[nodiscard]] const Secrets& secrets() const { return secrets_; }
    [[nodiscard]] const TlsContext& tls() const { return tls_; }
    [[nodiscard]] const Blades& blades() const { return blades_; }
    [[nodiscard]] const Enrolment& enrolment() const { return enrolment_; }
    [[nodiscard]] const Moves& moves() const { return moves_; }
    [[nodiscard]] const Checkpoints& checkpoints() const { return checkpoints_; }
    [[nodiscard]] const RepositoryKeeper& repositories() const { return repositories_; }
    [[nodiscard]] const ConfiguredBefore& configured_before() const { return before_; }
    [[nodiscard]] const Economics& economics() const { return economics_; }
    [[nodiscard]] const Draining& draining() const { return draining_; }
    [[nodiscard]] Events& events() { return events_; }
    /// Another configuration: the API's, and SIGHUP's.
    [[nodiscard]] Applying& applying() { return applying_; }
    [[nodiscard]] Agents& agents() { return agents_; }
    [[nodiscard]] DataplaneLink& dataplane() { return dataplane_; }
    [[nodiscard]] uint64_t generation() const { return publisher_.generation(); }
    [[nodiscard]] bool settled() const { return publisher_.settled(); }
    [[nodiscard]] std::chrono::seconds uptime() const;

  private:
    /// Everything of a configuration that can fail, done beside what runs. Destroyed without a commit() it
    /// leaves nothing behind.
    struct Prepared {
        ConfigPtr file, config;
        std::vector<std::string> problems;  // what was enrolled and does not fit
        std::optional<TlsContext> tls;      // the files were read again
        Agents::Prepared listener;
        Repositories::Prepared repositories;
    };
    enum class Certificates : uint8_t { kept, read_again };
    [[nodiscard]] Result<Prepared> prepare(ConfigPtr file, Certificates certificates) const;
    /// Puts it in force, and tells everybody who must hear of it. Cannot fail.
    void commit(Prepared prepared);
    /// The same file with another enrolment.
    Result<void> enrolment_changed();
    void tell_keys();
    void step_rotation();
    [[nodiscard]] std::string refusal(BladeId blade, const CertificateInfo& certificate) const;
    chassis::CertificateReply certify(const Channel& from, const chassis::CertificateRequest& request);
    AgentEvents agent_events();
    void hello(BladeId blade, chassis::AgentHello hello);
    void on_message(BladeId blade, const chassis::Envelope& message);
    void send_keys(BladeId blade);
    void changed() { publisher_.changed(); }
    void tick();
    void tell_continuance();
    void watch_states();
    void watch_certificates();
    void keep_configured();
    void watch_blades(Agents::Prepared listener);

    // --- of the moves ---
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const override;
    [[nodiscard]] bool connected(BladeId blade) const override;
    [[nodiscard]] bool uses_sessions(BladeId blade, const std::string& service) const override;
    Result<void> send(BladeId blade, chassis::Envelope message) override;
    void send(link::ToDataplane message) override;
    void drained(BladeId blade, MoveResult result) override;
    [[nodiscard]] const LatestState* latest(const SessionName& name) const override {
        return checkpoints_.latest(name);
    }
    // --- of the checkpoints and the repositories ---
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& name) const override {
        return moves_.holder(name);
    }
    [[nodiscard]] bool under_way(const SessionName& name) const override {
        return moves_.orders().under_way(name);
    }
    [[nodiscard]] bool dead(BladeId blade) const override { return agents_.silent(blade); }
    [[nodiscard]] bool keeps(const std::string& service) const override {
        return repositories_.keeps(service);
    }
    bool restore(const MoveOrder& order, const NotUsed& known) override;
    void restored(const MoveOrder& order) override { checkpoints_.restored(order); }
    void not_restored(uint64_t order_id) override;
    [[nodiscard]] std::string receipt(const SessionName& name, BladeId blade, uint64_t order) override {
        return receipts_->make(name, blade, order);
    }
    [[nodiscard]] std::optional<uint64_t> order_in(const std::string& receipt, const SessionName& name,
                                                   BladeId blade) override {
        return receipts_->order_in(receipt, name, blade);
    }
    [[nodiscard]] bool purging(BladeId blade, const SessionName& name, ServiceId service) const override {
        return purging_.purging(blade, name, service);
    }
    // --- of another configuration ---
    Result<void> put_in_force(Config next, const std::function<Result<void>()>& ready) override;
    [[nodiscard]] std::vector<std::string> who_lags() const override { return waits_for_keys(); }
    [[nodiscard]] const Config& configuration() const override { return *file_; }
    [[nodiscard]] const Blades& known_blades() const override { return blades_; }
    [[nodiscard]] const Economics& costs() const override { return economics_; }

    asio::io_context& io_;
    Events events_;
    StateWatch states_{events_};
    ConfigPtr file_;    // what the configuration file says
    ConfigPtr config_;  // what holds: with who was enrolled, without who was revoked
    TlsContext tls_;
    Secrets secrets_;
    KeyRotation rotation_{secrets_};
    Enrolment enrolment_;
    Certifier certifier_;
    Blades blades_;
    ConfiguredBefore before_;
    Seldom log_;
    Economics economics_;
    Agents agents_;
    DataplaneLink dataplane_;
    Moves moves_;
    Draining draining_;
    Continuance continuance_;
    std::optional<Receipts> receipts_;  // from start() on
    FlowQuestions flows_;
    Checkpoints checkpoints_;
    RepositoryKeeper repositories_;   // after its checkpoints, which it tells
    PoolKeyKeeper::Members members_;  // whose agents are connected
    Purging purging_;
    Publisher publisher_;
    Applying applying_;
    Timer tick_timer_;
    Wakefulness wakefulness_;  // while moves are ordered
    uint64_t ticks_ = 0;
    uint64_t keys_version_ = unix_ms();  // above those of a keyraild that ran before
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace keyrail
