// SPDX-License-Identifier: Apache-2.0
// When keys are replaced (secrets.h says how): by the clock, by the operator, and when a blade that knew them
// is revoked. Pure but for the secrets' file; time and who has what come in.
#pragma once

#include <string>
#include <vector>

#include "control/daemon/keys/secrets.h"

namespace keyrail {

class KeyRotation {
  public:
    /// No cookie is good for longer (dataplane/common/cookie.h).
    static constexpr std::chrono::seconds kCookiesOpen{130};
    static constexpr std::chrono::seconds kMargin{60};  // of blades' clocks, beyond the longest session

    explicit KeyRotation(Secrets& secrets) : secrets_(secrets) {}

    struct Situation {
        std::chrono::seconds key_lifetime{};     // 0: only by hand
        std::chrono::seconds longest_session{};  // of all services
        std::vector<std::string> waits_for;      // who does not have the latest keys yet
    };
    /// One step, if one is due. True: keys have changed, tell everybody.
    bool tick(Secrets::Time now, const Situation& situation);

  private:
    static constexpr std::chrono::seconds kRetry{60};  // when they cannot be written
    bool done(const Result<void>& result, Secrets::Time now, std::string_view what);

    Secrets& secrets_;
    Secrets::Time quiet_until_{};
};

}  // namespace keyrail
