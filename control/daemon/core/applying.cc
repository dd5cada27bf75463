// SPDX-License-Identifier: Apache-2.0
// Daemon: a configuration, or another enrolment, is put in force: whole, or not at all.
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/daemon/core/daemon.h"

namespace keyrail {

Result<void> Daemon::put_in_force(Config next, const std::function<Result<void>()>& ready) {
    auto prepared = prepare(std::make_shared<const Config>(std::move(next)), Certificates::read_again);
    if (!prepared) return tl::make_unexpected(prepared.error());
    if (auto recorded = ready(); !recorded) return recorded;
    commit(std::move(*prepared));
    return {};
}

Result<void> Daemon::enrolment_changed() {
    auto prepared = prepare(file_, Certificates::kept);
    if (!prepared) return tl::make_unexpected(prepared.error());
    commit(std::move(*prepared));
    return {};
}

/// The repositories come late: to open one makes files.
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
    auto checks = Checks::prepare(*prepared.config);
    if (!checks) return tl::make_unexpected(checks.error());
    prepared.checks = std::move(*checks);
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
    const bool opened = repositories_.commit(config_, std::move(prepared.repositories));
    purging_.configure(config_);
    if (opened) purging_.go_on();
    before_.services(config_->services, unix_ms());
    keep_configured();
    publisher_.configure(config_);
    blades_.configure(*config_, unix_ms());
    for (const auto& [id, blade] : config_->blades) blades_.wished(id, wishes_.of(id));
    watch_blades(std::move(prepared.listener));
    routed_ = false;
    checks_.forget_under_way();
    checks_.commit(*config_, std::move(prepared.checks));
    economics_.configure(*config_);
    wakefulness_.configure(config_->stay_awake);
    moves_.configure(config_);
    draining_.sync();
    tell_keys();
}

/// Also those that have left: their flows are theirs until they are gone.
void Daemon::watch_blades(Agents::Prepared listener) {
    std::map<BladeId, HostPort> left;
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
