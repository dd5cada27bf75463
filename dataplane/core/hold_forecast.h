// SPDX-License-Identifier: Apache-2.0
// How long a client must expect to wait for its session now: from the holds of the last half minute, by
// service and TLS version. The control thread writes it once a second (link/forecaster.h), workers read it
// when a session is to be moved.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/common/hold_waits.h"

namespace keyrail {

class HoldForecast {
  public:
    /// Microseconds; 0: not known.
    [[nodiscard]] uint32_t expected_us(ServiceId service, TlsVersion tls_version) const {
        const Versions* const known = places_.find(service);
        return known == nullptr ? 0 : (*known)[tls_index(tls_version)].load(std::memory_order_relaxed);
    }
    /// The control thread's.
    void set(ServiceId service, size_t version, uint32_t us) {
        if (Versions* const known = places_.make(service); known != nullptr)
            (*known)[version].store(us, std::memory_order_relaxed);
    }

  private:
    using Versions = std::array<std::atomic<uint32_t>, kTlsVersions.size()>;
    ByService<Versions, kMeasuredServices> places_;
};

}  // namespace keyrail
