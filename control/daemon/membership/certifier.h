// SPDX-License-Identifier: Apache-2.0
// Certifier: signs what blades ask for: the first certificate, against a token, and the next ones, against
// the one before. Keeps keyraild's own certificate fresh. All of it only where the CA's key is (config:
// ca_key).
#pragma once

#include <string>

#include "control/daemon/membership/enrolment.h"
#include "control/pki/ca.h"
#include "dataplane/common/ids.h"

namespace keyrail {

namespace chassis {
class CertificateReply;
class CertificateRequest;
}  // namespace chassis

class Certifier {
  public:
    /// `enrolment` outlives this.
    Certifier(ConfigPtr config, Enrolment& enrolment) : config_(std::move(config)), enrolment_(enrolment) {}
    void configure(ConfigPtr config) { config_ = std::move(config); }

    /// `from`: who asks, for the log. The blades' good certificates may have changed afterwards.
    chassis::CertificateReply join(const std::string& from, const chassis::CertificateRequest& request);
    /// `shown`: the serial of the certificate that the blade used.
    chassis::CertificateReply renew(BladeId blade, const std::string& shown,
                                    const chassis::CertificateRequest& request);

    /// keyraild's own: replaced when it is due, with the same key, and taken into `tls`.
    void keep_own(TlsContext& tls) const;

  private:
    [[nodiscard]] pki::CaFiles ca() const { return {config_->tls.ca, config_->ca_key}; }
    Result<pki::Issued> issue(BladeId blade, const chassis::CertificateRequest& request) const;

    ConfigPtr config_;
    Enrolment& enrolment_;
};

}  // namespace keyrail
