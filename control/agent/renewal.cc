// SPDX-License-Identifier: Apache-2.0
#include "control/agent/renewal.h"

#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include "chassis.pb.h"
#include "control/pki/ca.h"
#include "control/protocol/file.h"

namespace keyrail {

std::optional<chassis::Envelope> Renewal::due(Time now) {
    if (now < next_ || !tls_.certificate().due(now)) return std::nullopt;
    next_ = now + kRetry;
    const auto request = pki::make_request(files_.key);
    if (!request) {
        spdlog::error("certificate: {}", request.error().message);
        return std::nullopt;
    }
    chassis::Envelope message;
    message.mutable_certificate_request()->set_request(*request);
    return message;
}

/// The old one goes only when the new one is seen to fit.
Result<void> Renewal::install(const chassis::CertificateReply& reply) {
    if (!reply.refused().empty()) return fail("{}", reply.refused());
    const std::filesystem::path next = files_.certificate.string() + ".renewed";
    if (const auto written = pki::write_certificate(next, reply.certificate()); !written)
        return tl::make_unexpected(written.error());
    auto loaded = tls_.reload({files_.ca, next, files_.key});
    if (loaded && ::rename(next.c_str(), files_.certificate.c_str()) != 0)
        loaded = fail("{}: {}", files_.certificate.string(), std::strerror(errno));
    std::error_code ignored;
    std::filesystem::remove(next, ignored);
    return loaded;
}

void Renewal::received(const chassis::CertificateReply& reply) {
    const auto installed = install(reply);
    const std::string until = fmt::format("{:%Y-%m-%d %H:%M}", tls_.certificate().until);
    if (installed)
        spdlog::info("certificate: renewed, good until {}", until);
    else
        spdlog::warn("certificate: ends on {} and was not renewed: {}", until, installed.error().message);
}

}  // namespace keyrail
