// SPDX-License-Identifier: Apache-2.0
// What held clients waited (hello complete -> released), and what a full handshake would have cost them: one
// worker's, by service and TLS version. Written when a hold ends, never per packet; read by the control
// thread. A service keeps its place as long as the process lives, so that its counts only go up.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/common/counter.h"
#include "dataplane/common/histogram.h"
#include "dataplane/common/ids.h"

namespace keyrail {

/// As Histogram, with one writer and other readers.
class SharedHistogram {
  public:
    void add(uint64_t us) {
        buckets_[DurationBuckets::of(us)].add();
        sum_us_.add(us);
    }
    [[nodiscard]] uint64_t in(size_t bucket) const { return buckets_[bucket].get(); }
    [[nodiscard]] uint64_t sum_us() const { return sum_us_.get(); }

  private:
    std::array<Counter, DurationBuckets::kCount> buckets_;
    Counter sum_us_;
};

inline constexpr std::array<TlsVersion, 2> kTlsVersions = {TlsVersion::tls12, TlsVersion::tls13};
constexpr size_t tls_index(TlsVersion version) { return version == TlsVersion::tls13; }

/// Places by service id, found by everybody who knows the id: open addressing, nothing is ever taken out.
template <typename Entry, size_t kPlaces>
class ByService {
  public:
    /// The one writer's: the entry of this service, made if it is new; nullptr when there is no room.
    Entry* make(ServiceId id) {
        for (size_t i = 0; i < kPlaces; i++) {
            Place& place = places_[(id.number() + i) % kPlaces];
            const uint64_t known = place.id.load(std::memory_order_relaxed);
            if (known == 0) place.id.store(id.number(), std::memory_order_release);
            if (known == 0 || known == id.number()) return &place.entry;
        }
        return nullptr;
    }
    /// Anybody's. nullptr: nothing is known of it.
    [[nodiscard]] const Entry* find(ServiceId id) const {
        for (size_t i = 0; i < kPlaces; i++) {
            const Place& place = places_[(id.number() + i) % kPlaces];
            const uint64_t known = place.id.load(std::memory_order_acquire);
            if (known == id.number()) return &place.entry;
            if (known == 0) return nullptr;
        }
        return nullptr;
    }

  private:
    struct Place {
        std::atomic<uint64_t> id{0};  // of a ServiceId; 0: free
        Entry entry;
    };
    std::array<Place, kPlaces> places_;
};

struct HoldWaits {
    SharedHistogram waited;  // however the hold ended
    SharedHistogram saving;  // what a full handshake would have taken longer; those of whom it is known
    Counter longer;          // of these: waited longer than that
};

/// More services than that with moves in one process: the others are not measured.
inline constexpr size_t kMeasuredServices = 32;
using ServiceHoldWaits = std::array<HoldWaits, kTlsVersions.size()>;
using AllHoldWaits = ByService<ServiceHoldWaits, kMeasuredServices>;

}  // namespace keyrail
