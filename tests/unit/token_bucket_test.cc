// SPDX-License-Identifier: Apache-2.0
// So many a second, whatever the pauses between those who take.
#include "dataplane/core/token_bucket.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

constexpr uint64_t kStartUs = 10'000'000, kSeconds = 10;

uint64_t taken(TokenBucket& bucket, uint64_t every_us) {
    uint64_t count = 0;
    for (uint64_t us = 0; us < kSeconds * 1'000'000; us += every_us) count += bucket.take(kStartUs + us);
    return count;
}

TEST(TokenBucket, GivesWhatItSays) {
    for (const uint32_t per_second : {1u, 3u, 1000u, 2000u, 10'000u}) {
        for (const uint64_t every_us : {1u, 7u, 30u, 70u, 99u}) {
            TokenBucket bucket(per_second, 100);
            EXPECT_NEAR(static_cast<double>(taken(bucket, every_us)), 100.0 + kSeconds * per_second, 2)
                << per_second << " a second, asked every " << every_us;
        }
    }
}

TEST(TokenBucket, DoesNotSaveUp) {
    TokenBucket bucket(1000, 5);
    const auto at_once = [&](uint64_t us) {
        int count = 0;
        while (bucket.take(us)) count++;
        return count;
    };
    EXPECT_EQ(at_once(kStartUs), 5);
    EXPECT_EQ(at_once(kStartUs), 0);
    EXPECT_EQ(at_once(kStartUs + 999), 0);
    EXPECT_EQ(at_once(kStartUs + 1000), 1);
    EXPECT_EQ(at_once(kStartUs + 60'000'000), 5);
    EXPECT_EQ(at_once(kStartUs + 60'000'999), 0);
}

}  // namespace
}  // namespace keyrail
