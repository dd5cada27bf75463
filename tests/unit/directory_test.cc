// SPDX-License-Identifier: Apache-2.0
// The moved directory: bounded, and forgetful in time.
#include "control/daemon/moves/directory.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

constexpr SessionName kA = {1}, kB = {2}, kC = {3};

TEST(DirectoryTest, TheLastWordCounts) {
    Directory directory;
    directory.set({kA, 1, 1000});
    directory.set({kA, 2, 2000});
    EXPECT_EQ(directory.size(), 1u);
    EXPECT_EQ(directory.find(kA, 1500)->holder, 2);
    EXPECT_FALSE(directory.find(kB, 0));
    directory.erase(kA);
    directory.erase(kA);
    EXPECT_EQ(directory.size(), 0u);
}

TEST(DirectoryTest, Expiry) {
    Directory directory;
    directory.set({kA, 1, 1000});
    directory.set({kB, 1, 2000});
    EXPECT_TRUE(directory.find(kA, 999));
    EXPECT_FALSE(directory.find(kA, 1000));
    EXPECT_EQ(directory.all(1000).size(), 1u);
    directory.sweep(1000);
    EXPECT_EQ(directory.size(), 1u);
    directory.sweep(UINT64_MAX);
    EXPECT_EQ(directory.size(), 0u);
}

TEST(DirectoryTest, FullMakesRoomByTheFirstToExpire) {
    Directory directory(2);
    directory.set({kA, 1, 2000});
    directory.set({kB, 1, 1000});
    directory.set({kC, 1, 3000});
    EXPECT_EQ(directory.size(), 2u);
    EXPECT_TRUE(directory.find(kA, 0));
    EXPECT_FALSE(directory.find(kB, 0));
    directory.set({kA, 2, 9000});  // known: takes no room
    EXPECT_TRUE(directory.find(kC, 0));
    Directory none(0);
    none.set({kA, 1, 1});
    EXPECT_EQ(none.size(), 0u);
}

TEST(DirectoryTest, ABladeWithMoreThanItsShareMakesRoomItself) {
    Directory directory(100);
    const auto name = [](uint8_t blade, uint16_t number) {
        return SessionName{blade, static_cast<uint8_t>(number), static_cast<uint8_t>(number >> 8)};
    };
    for (uint16_t i = 0; i < 40; i++) directory.set({name(1, i), 1, 1000});  // these expire first
    for (uint16_t i = 0; i < 1000; i++) directory.set({name(2, i), 2, 2000});
    EXPECT_EQ(directory.size(), 100u);
    for (uint16_t i = 0; i < 40; i++) EXPECT_TRUE(directory.find(name(1, i), 0)) << i;
}

TEST(DirectoryTest, AHolderAnnouncesAnew) {
    Directory directory;
    directory.set({kA, 1, 1000});
    directory.set({kB, 2, 1000});
    directory.set({kC, 1, 1000});
    directory.begin_announcing(1);
    directory.set({kC, 1, 1000});
    EXPECT_TRUE(directory.find(kA, 0)) << "it may come yet";
    directory.end_announcing(1);
    EXPECT_FALSE(directory.find(kA, 0));
    EXPECT_TRUE(directory.find(kB, 0));
    EXPECT_TRUE(directory.find(kC, 0));
    directory.sweep(1000);
    EXPECT_EQ(directory.size(), 0u);
}

}  // namespace
}  // namespace keyrail
