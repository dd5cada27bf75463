// SPDX-License-Identifier: Apache-2.0
// The last snapshot goes from one process to the next, whole or not at all.
#include "dataplane/link/kept_snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "link.pb.h"

namespace keyrail {
namespace {

using testing::HasSubstr;

struct KeptSnapshotTest : testing::Test {
    std::filesystem::path directory = [] {
        char name[] = "/dev/shm/keyrail-kept-XXXXXX";
        return std::filesystem::path(mkdtemp(name));
    }();
    ~KeptSnapshotTest() override { std::filesystem::remove_all(directory); }

    KeptSnapshot kept{directory, "a boot"};
    const std::filesystem::path file = directory / "snapshot";

    static link::Snapshot snapshot(uint64_t generation) {
        link::Snapshot made;
        made.set_generation(generation);
        made.add_cookie_keys()->set_key(std::string(16, 'c'));
        for (uint32_t id = 1; id < 200; id++) made.add_blades()->set_id(id);
        return made;
    }
    /// Why it is of no use; "": it was read.
    [[nodiscard]] std::string why_not(const KeptSnapshot& whose) const {
        link::Snapshot message;
        const auto read = whose.read(message);
        return read ? "" : read.error().message;
    }
    void change(size_t at, uint64_t word) const {
        std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
        out.seekp(static_cast<std::streamoff>(at));
        out.write(reinterpret_cast<const char*>(&word), sizeof word);
    }
};

TEST_F(KeptSnapshotTest, ComesBackAsItWas) {
    EXPECT_THAT(why_not(kept), HasSubstr("there is none"));
    for (const uint64_t generation : {1u, 2u}) {
        ASSERT_TRUE(kept.keep(snapshot(generation)));
        link::Snapshot message;
        ASSERT_TRUE(KeptSnapshot(directory, "a boot").read(message));
        EXPECT_EQ(message.SerializeAsString(), snapshot(generation).SerializeAsString());
    }
    EXPECT_FALSE(std::filesystem::exists(directory / "snapshot.new"));
}

TEST_F(KeptSnapshotTest, OnlyRootReadsItsKeys) {
    ASSERT_TRUE(kept.keep(snapshot(1)));
    struct stat about{};
    ASSERT_EQ(stat(file.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777, 0600u);
}

TEST_F(KeptSnapshotTest, IsOfOneBoot) {
    ASSERT_TRUE(kept.keep(snapshot(1)));
    EXPECT_THAT(why_not(KeptSnapshot(directory, "another boot")), HasSubstr("started meanwhile"));
}

/// Who was killed while it wrote leaves the one before.
TEST_F(KeptSnapshotTest, HalfOfOneChangesNothing) {
    ASSERT_TRUE(kept.keep(snapshot(1)));
    std::ofstream(directory / "snapshot.new") << std::string(100'000, 'x');
    EXPECT_EQ(why_not(kept), "");
    ASSERT_TRUE(kept.keep(snapshot(2)));
    EXPECT_EQ(why_not(kept), "");
}

TEST_F(KeptSnapshotTest, IsReadWithinItsBounds) {
    for (size_t at = 0; at < 128 + 256; at += 8) {
        ASSERT_TRUE(kept.keep(snapshot(1)));
        change(at, UINT64_MAX);
        const bool beside = (at >= 24 && at < 80) || (at >= 104 && at < 128);  // nothing is there
        if (beside) continue;
        EXPECT_NE(why_not(kept), "") << at;
    }
    for (const uint64_t size : {uint64_t{0}, uint64_t{4096}, uint64_t{1} << 40}) {
        ASSERT_TRUE(kept.keep(snapshot(1)));
        change(88, size);
        EXPECT_THAT(why_not(kept), HasSubstr("damaged"));
    }
    for (const uintmax_t size : {0, 1, 127, 128, 500}) {
        ASSERT_TRUE(kept.keep(snapshot(1)));
        std::filesystem::resize_file(file, size);
        EXPECT_NE(why_not(kept), "") << size;
    }
}

TEST_F(KeptSnapshotTest, WhereThereIsNoRoomTheOneBeforeStays) {
    EXPECT_FALSE(KeptSnapshot("/proc", "a boot").keep(snapshot(1)));
}

}  // namespace
}  // namespace keyrail
