// SPDX-License-Identifier: Apache-2.0
// So many a second, and a few at once. For one worker.
#pragma once

#include <algorithm>
#include <cstdint>

namespace keyrail {

class TokenBucket {
  public:
    TokenBucket(uint32_t per_second, uint32_t at_once)
        : per_second_(per_second), most_(at_once), tokens_(at_once) {}

    /// `now_us`: monotonic. False: there were too many.
    bool take(uint64_t now_us) {
        const uint64_t passed = std::min<uint64_t>(now_us - last_us_, kSecondUs);
        const uint64_t fresh = passed * per_second_ / kSecondUs;
        tokens_ += fresh;
        last_us_ += fresh * kSecondUs / per_second_;  // what is left over counts the next time
        if (tokens_ >= most_ || passed == kSecondUs) {
            tokens_ = std::min(tokens_, most_);
            last_us_ = now_us;
        }
        if (tokens_ == 0) return false;
        tokens_--;
        return true;
    }

  private:
    static constexpr uint64_t kSecondUs = 1'000'000;
    uint64_t per_second_, most_, tokens_, last_us_ = 0;
};

}  // namespace keyrail
