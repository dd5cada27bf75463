// SPDX-License-Identifier: Apache-2.0
// Daemon: who may be a blade, and what happens when that changes.
#include <spdlog/spdlog.h>

#include <asio/post.hpp>

#include "chassis.pb.h"
#include "control/daemon/core/daemon.h"
#include "control/pki/join_token.h"

namespace keyrail {

std::string Daemon::refusal(BladeId blade, const CertificateInfo& certificate) const {
    const auto found = config_->blades.find(blade);
    if (found == config_->blades.end())
        return enrolment_.revoked(blade) ? "it was revoked" : "it is no configured blade";
    const CertificateSet& good = found->second.certificates;
    if (!good || good->contains(certificate.serial)) return "";
    return fmt::format("its certificate {} is not good any more: the blade was revoked or enrolled anew",
                       certificate.serial);
}

chassis::CertificateReply Daemon::certify(const Channel& from, const chassis::CertificateRequest& request) {
    const bool joins = from.peer().is_stranger();
    auto reply = joins ? certifier_.join(from.name(), request)
                       : certifier_.renew(from.peer().blade, from.peer_certificate().serial, request);
    if (joins && reply.refused().empty())
        events_.add("blade.enrolled", from.name(), fmt::format("blade {} has joined", reply.blade_id()),
                    {BladeId::or_none(static_cast<uint16_t>(reply.blade_id()))});
    // Not at once: this may end the connection by which the answer goes.
    if (reply.refused().empty())
        asio::post(io_, [this] {
            if (auto applied = enrolment_changed(); !applied)
                spdlog::error("enrolment: {}", applied.error().message);
        });
    return reply;
}

Result<std::string> Daemon::invite(const Enrolment::Wish& wish) {
    if (config_->listen.address.is_any())
        return fail("a token must say where keyraild is, and 'listen' in {} is {}; write an address there",
                    config_->file.string(), config_->listen.text());
    const auto ca = pki::fingerprint_of_file(config_->tls.ca);
    if (!ca) return tl::make_unexpected(ca.error());
    auto secret = enrolment_.invite(wish, *file_, std::chrono::system_clock::now());
    if (!secret) return secret;
    spdlog::info("operator: blade {} may be enrolled for {} s", wish.id, wish.valid.count());
    if (auto applied = enrolment_changed(); !applied) return tl::make_unexpected(applied.error());
    JoinToken token;
    token.blade = wish.id;
    token.control = config_->listen;
    token.ca = *ca;
    token.secret = std::move(*secret);
    return token.text();
}

Result<void> Daemon::revoke(BladeId blade) {
    if (auto revoked = enrolment_.revoke(blade); !revoked) return revoked;
    if (const auto member = members_.find(blade); member != members_.end())
        repositories_.revoke(member->second.recipient);
    spdlog::warn("operator: blade {} is revoked", blade);
    const auto rotated = secrets_.rotate(std::chrono::system_clock::now());  // it knew them
    if (auto applied = enrolment_changed(); !applied) return applied;
    if (!rotated)
        return fail(
            "blade {} is revoked, but the keys that it knew are not replaced: {}; run: keyrail "
            "keys rotate",
            blade, rotated.error().message);
    return {};
}

// --- keys ---

Result<void> Daemon::rotate_keys() {
    if (auto rotated = secrets_.rotate(std::chrono::system_clock::now()); !rotated) return rotated;
    spdlog::info("operator: the keys are replaced");
    tell_keys();
    return {};
}

/// A blade whose agent is away still serves with the keys that it has.
std::vector<std::string> Daemon::waits_for_keys() const {
    std::vector<std::string> names;
    if (!publisher_.up_to_date()) names.emplace_back("the dataplane");
    for (const auto& [id, blade] : blades_.all())
        if ((blade.connected || blade.intake() != BladeIntake::none) && blade.keys_version != keys_version_)
            names.push_back(fmt::format("the agent of blade {}", id));
    return names;
}

void Daemon::step_rotation() {
    KeyRotation::Situation situation{config_->name_key_lifetime, {}, {}};
    for (const ServiceConfig& service : config_->services)
        situation.longest_session = std::max(situation.longest_session, service.session_lifetime);
    if (secrets_.coming()) situation.waits_for = waits_for_keys();
    const bool came = secrets_.coming();
    if (!rotation_.tick(std::chrono::system_clock::now(), situation)) return;
    if (secrets_.coming())
        events_.add("key.coming", Events::kNobody, "name and cookie keys are being replaced: it is time");
    else if (came)
        events_.add("key.current", Events::kNobody,
                    "everybody has the new name and cookie keys: they are used");
    else
        events_.add("key.retired", Events::kNobody,
                    "old name or cookie keys are gone: nothing of theirs is left");
    tell_keys();
}

}  // namespace keyrail
