// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/seq.h"

#include <gtest/gtest.h>

#include <array>

namespace keyrail {
namespace {

constexpr std::array<uint32_t, 7> kPlaces = {0, 1, 1000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff};

TEST(SeqTest, DistancesOnTheWholeCircle) {
    for (const uint32_t at : kPlaces) {
        for (const uint32_t bytes : {0u, 1u, 1460u, 0x7fffffffu}) {
            const Seq here = at, there = here + bytes;
            EXPECT_EQ(there - here, int64_t{bytes}) << at;
            EXPECT_EQ(here - there, -int64_t{bytes}) << at;
            EXPECT_EQ(there.back(bytes), here);
            EXPECT_EQ(here.before(there), bytes != 0);
            EXPECT_FALSE(there.before(here));
        }
    }
}

/// RFC 1982 section 3.2 leaves it open which of two opposite numbers is in front: both are behind here, so
/// that neither is taken for data that is to come.
TEST(SeqTest, OppositeNumbersAreBehindEachOther) {
    for (const uint32_t at : kPlaces) {
        const Seq here = at, opposite = here + 0x80000000u;
        EXPECT_TRUE(here.before(opposite));
        EXPECT_TRUE(opposite.before(here));
    }
}

TEST(SeqTest, SizesAreAddedWithoutOverflow) {
    const Seq base = 0xffffff00u, far = base + 0x7ffffffcu;
    EXPECT_EQ((far - base) + 65535, int64_t{0x7ffffffc} + 65535);
}

}  // namespace
}  // namespace keyrail
