// SPDX-License-Identifier: Apache-2.0
// A cookie without timestamps is guessed within 8 million tries. So many may fail in a second, for each
// service and worker; then for the rest of that second cookies without timestamps are believed only of
// clients whose SYN was noted (Context::bare_syns) and who have not guessed, and SYNs without timestamps go
// to blades natively. So a client is turned away only where a flood of SYNs has written over its note, too.
// A connection that a blade has (bind/asking.h) is no guess. Services whose ids share a place share their
// count.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/common/cookie.h"
#include "dataplane/common/ids.h"

namespace keyrail {

class Guesses {
  public:
    /// `now_s`: monotonic.
    void failed(ServiceId service, uint32_t tries, uint32_t now_s) {
        Place& place = places_[service.number() % kPlaces];
        if (place.second != now_s) place = {now_s, 0};
        place.failed += tries;
    }
    [[nodiscard]] bool too_many(ServiceId service, uint32_t now_s) const {
        const Place& place = places_[service.number() % kPlaces];
        return place.failed >= KR_COOKIE_GUESSES_PER_S && place.second == now_s;
    }

  private:
    static constexpr size_t kPlaces = 256;
    struct Place {
        uint32_t second = 0, failed = 0;
    };
    std::array<Place, kPlaces> places_{};
};

}  // namespace keyrail
