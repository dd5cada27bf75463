// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace keyrail {
namespace {

using testing::HasSubstr;

struct FlowMemoryTest : testing::Test {
    std::filesystem::path directory = [] {
        char name[] = "/dev/shm/keyrail-flows-XXXXXX";
        return std::filesystem::path(mkdtemp(name));
    }();
    ~FlowMemoryTest() override { std::filesystem::remove_all(directory); }

    FlowMemory::Shape shape{
        .workers = 2, .buckets = 64, .tsc_per_us = 2600, .boot = "a boot", .fresh_key = 42};

    FlowMemory open() {
        auto opened = FlowMemory::open(directory, shape);
        if (!opened) throw std::runtime_error(opened.error().message);
        return std::move(*opened);
    }
    void put_flow(uint64_t hash = 7, BladeId blade = 3) {
        const FlowMemory memory = open();
        FlowTable(memory.buckets(1)).insert(hash, Flow(100, blade, 0));
    }
    /// The blade of a flow of the next process; 0: it does not know it.
    BladeId blade_of(uint64_t hash = 7) {
        const FlowMemory memory = open();
        FlowTable table(memory.buckets(1));
        table.count();
        Flow* flow = table.find(hash, 100);
        return flow == nullptr ? BladeId{} : flow->blade();
    }
};

TEST_F(FlowMemoryTest, IsGoneOnWith) {
    put_flow();
    shape.fresh_key = 43;
    {
        const FlowMemory memory = open();
        EXPECT_EQ(memory.begun_anew(), "");
        EXPECT_EQ(memory.hash_key(), 42u) << "the flows were hashed with it";
        FlowTable table(memory.buckets(1));
        table.count();
        EXPECT_EQ(table.size(), 1u);
    }
    EXPECT_EQ(blade_of(), 3);
}

TEST_F(FlowMemoryTest, AKilledProcessLeavesItWhole) {
    const pid_t child = fork();
    if (child == 0) {
        put_flow();
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(blade_of(), 3);
}

TEST_F(FlowMemoryTest, AClockThatIsMeasuredAnewGoesOn) {
    put_flow();
    shape.tsc_per_us = 2601;
    const FlowMemory memory = open();
    EXPECT_EQ(memory.begun_anew(), "");
    EXPECT_EQ(memory.tsc_per_us(), 2600u);
}

TEST_F(FlowMemoryTest, WhatDoesNotFitIsBegunAnewAndSaysWhy) {
    struct Row {
        const char* why;
        std::function<void(FlowMemory::Shape&)> change;
    };
    for (const Row& row : {Row{"another one", [](auto& s) { s.buckets = 128; }},
                           Row{"another one", [](auto& s) { s.workers = 3; }},
                           Row{"started meanwhile", [](auto& s) { s.boot = "another boot"; }},
                           Row{"clock", [](auto& s) { s.tsc_per_us = 3000; }}}) {
        const auto before = shape;
        put_flow();
        row.change(shape);
        shape.fresh_key = 77;
        {
            const FlowMemory memory = open();
            if (shape.buckets == before.buckets) {
                EXPECT_THAT(memory.begun_anew(), HasSubstr(row.why));
            }
            EXPECT_NE(memory.begun_anew(), "");
            EXPECT_EQ(memory.hash_key(), 77u);
        }
        EXPECT_EQ(blade_of(), 0);
        shape = before;
        std::filesystem::remove(directory / "flows.0");
    }
}

TEST_F(FlowMemoryTest, HeadersOfAnyContentsAreBegunAnew) {
    put_flow();
    for (size_t at = 0; at < 40; at += 8) {
        {
            std::fstream file(directory / "flows.1", std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(at));
            file.write("\xff\xff\xff\xff\xff\xff\xff\xff", 8);
        }
        EXPECT_NE(open().begun_anew(), "") << at;
        EXPECT_EQ(open().begun_anew(), "") << "and then it is whole again";
    }
}

TEST_F(FlowMemoryTest, BelongsToOneProcess) {
    const FlowMemory first = open();
    const auto second = FlowMemory::open(directory, shape);
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("another process"));
}

TEST_F(FlowMemoryTest, OnlyRootReadsIt) {
    open();
    struct stat about{};
    ASSERT_EQ(stat((directory / "flows.0").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777, 0600u);
}

TEST_F(FlowMemoryTest, NothingGoesToADisk) {
    const auto opened = FlowMemory::open("/proc", shape);
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message, HasSubstr("tmpfs or hugetlbfs"));
    EXPECT_TRUE(FlowMemory::anonymous(shape));
}

/// Of an earlier process that was killed between two stores.
TEST_F(FlowMemoryTest, WhatWasNotWrittenWholeIsWiped) {
    const FlowMemory memory = open();
    memory.buckets(0)[5].hashes[1] = 99;
    FlowTable table(memory.buckets(0));
    table.count();
    EXPECT_EQ(table.size(), 0u);
    EXPECT_EQ(memory.buckets(0)[5].hashes[1], 0u);
}

}  // namespace
}  // namespace keyrail
