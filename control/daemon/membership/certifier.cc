// SPDX-License-Identifier: Apache-2.0
// Certifier: check, sign, write down, answer; in this order, so that a token that was answered is used up.
#include "control/daemon/membership/certifier.h"

#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include "chassis.pb.h"

namespace keyrail {

using std::chrono::system_clock;

namespace {

chassis::CertificateReply refuse(const std::string& from, const std::string& why) {
    spdlog::warn("certificates: {} gets none: {}", from, why);
    chassis::CertificateReply reply;
    reply.set_refused(why);
    return reply;
}

chassis::CertificateReply grant(const std::string& from, const BladeConfig& blade,
                                const pki::Issued& issued) {
    spdlog::info("certificates: {} gets {} for blade {}, good until {:%Y-%m-%d}", from, issued.info.serial,
                 blade.id, issued.info.until);
    chassis::CertificateReply reply;
    reply.set_certificate(issued.certificate);
    reply.set_ca(issued.ca);
    reply.set_blade_id(blade.id);
    reply.set_agent_address(blade.agent.text());
    return reply;
}

}  // namespace

Result<pki::Issued> Certifier::issue(BladeId blade, const chassis::CertificateRequest& request) const {
    return pki::certify_request(ca(), request.request(), Identity::of_blade(blade),
                                pki::Validity::from_now(pki::kRenewedLifetime));
}

chassis::CertificateReply Certifier::join(const std::string& from,
                                          const chassis::CertificateRequest& request) {
    const auto blade = enrolment_.check(request.token_secret(), system_clock::now());
    if (!blade) return refuse(from, blade.error().message);
    const auto configured = config_->blades.find(*blade);
    if (configured == config_->blades.end())
        return refuse(from, fmt::format("blade {} is not configured any more", *blade));
    const auto issued = issue(*blade, request);
    if (!issued) return refuse(from, issued.error().message);
    if (auto kept = enrolment_.admit(*blade, issued->info.serial); !kept)
        return refuse(from, kept.error().message);
    return grant(from, configured->second, *issued);
}

chassis::CertificateReply Certifier::renew(BladeId blade, const std::string& shown,
                                           const chassis::CertificateRequest& request) {
    const std::string from = fmt::format("blade {}", blade);
    const auto issued = issue(blade, request);
    if (!issued) return refuse(from, issued.error().message);
    if (auto kept = enrolment_.renew(blade, shown, issued->info.serial); !kept)
        return refuse(from, kept.error().message);
    return grant(from, config_->blades.at(blade), *issued);
}

void Certifier::keep_own(TlsContext& tls) const {
    if (!tls.certificate().due(system_clock::now())) return;
    const auto renewed = [&]() -> Result<void> {
        const auto request = pki::make_request(config_->tls.key);
        if (!request) return tl::make_unexpected(request.error());
        const auto issued = pki::certify_request(ca(), *request, Identity::control(),
                                                 pki::Validity::from_now(pki::kRenewedLifetime));
        if (!issued) return tl::make_unexpected(issued.error());
        if (const auto written = pki::write_certificate(config_->tls.certificate, issued->certificate);
            !written)
            return tl::make_unexpected(written.error());
        return tls.reload(config_->tls);
    }();
    const std::string until = fmt::format("{:%Y-%m-%d}", tls.certificate().until);
    if (renewed)
        spdlog::info("certificates: our own is renewed, good until {}", until);
    else
        spdlog::warn("certificates: our own ends on {} and cannot be renewed: {}", until,
                     renewed.error().message);
}

}  // namespace keyrail
