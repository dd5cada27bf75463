// SPDX-License-Identifier: Apache-2.0
#include "dataplane/flow/flow_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>

#include "dataplane/flow/flow_hash.h"

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
    const auto grown = [](auto& s) { s.boot = "another boot", s.workers = 3; };
    for (const Row& row :
         {Row{"started meanwhile", [](auto& s) { s.boot = "another boot"; }}, Row{"started meanwhile", grown},
          Row{"clock", [](auto& s) { s.tsc_per_us = 3000; }}}) {
        const auto before = shape;
        put_flow();
        row.change(shape);
        shape.fresh_key = 77;
        {
            const FlowMemory memory = open();
            EXPECT_THAT(memory.begun_anew(), HasSubstr(row.why));
            EXPECT_EQ(memory.hash_key(), 77u);
        }
        EXPECT_EQ(blade_of(), 0);
        shape = before;
        std::filesystem::remove(directory / "flows.0");
    }
}

TEST_F(FlowMemoryTest, HeadersOfAnyContentsAreBegunAnew) {
    put_flow();
    const size_t all = sizeof(FlowMemory::Header);
    for (size_t at = 0; at < all; at += 8) {
        if (at >= 24 && at < offsetof(KeptHeader, whole)) continue;  // behind the boot's name
        {
            std::fstream file(directory / "flows.1", std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(at));
            file.write("\xff\xff\xff\xff\xff\xff\xff\xff", 8);
        }
        EXPECT_NE(open().begun_anew(), "") << at;
        EXPECT_EQ(open().begun_anew(), "") << "and then it is whole again";
    }
}

/// Another number of workers or of flows: a flow is where its hash says.
TEST_F(FlowMemoryTest, AreSpreadAnewOverOtherTables) {
    constexpr uint32_t kFlows = 300;
    const auto hash_of = [](uint64_t n) { return (n + 1) * 0x9e3779b97f4a7c15; };
    const auto blade_of_flow = [](uint32_t n) { return BladeId(static_cast<uint16_t>(1 + n % 7)); };
    shape.buckets = 256;
    {
        const FlowMemory memory = open();
        std::vector<FlowTable> tables = {FlowTable(memory.buckets(0)), FlowTable(memory.buckets(1))};
        for (uint32_t n = 0; n < kFlows; n++)
            tables[owner_of(hash_of(n), 2)].insert(hash_of(n), Flow(100 + n % 50, blade_of_flow(n), 0));
    }
    struct Row {
        uint16_t workers;
        size_t buckets;
    };
    for (const Row& row : {Row{1, 256}, Row{5, 256}, Row{3, 128}, Row{2, 512}}) {
        const auto before = shape;
        shape.workers = row.workers;
        shape.buckets = row.buckets;
        shape.fresh_key = 77;
        const FlowMemory memory = open();
        EXPECT_EQ(memory.begun_anew(), "");
        EXPECT_EQ(memory.hash_key(), 42u);
        ASSERT_TRUE(memory.before());
        EXPECT_EQ(memory.before()->workers, before.workers);
        EXPECT_EQ(memory.before()->buckets, before.buckets);
        EXPECT_EQ(memory.before()->flows, kFlows);
        uint64_t kept = 0;
        for (uint16_t worker = 0; worker < row.workers; worker++) {
            FlowTable table(memory.buckets(worker));
            table.count();
            kept += table.size();
            for (uint32_t n = 0; n < kFlows; n++) {
                const Flow* flow = table.find(hash_of(n), 200);
                if (owner_of(hash_of(n), row.workers) != worker) {
                    EXPECT_EQ(flow, nullptr);
                } else if (flow == nullptr || flow->blade() != blade_of_flow(n) ||
                           flow->last_seen != 100 + n % 50) {
                    ADD_FAILURE() << n << " over " << row.workers << " workers";
                }
            }
        }
        EXPECT_EQ(kept, kFlows);
        EXPECT_FALSE(std::filesystem::exists(directory / ("flows." + std::to_string(row.workers))));
    }
    EXPECT_EQ(open().before(), std::nullopt) << "the shape is the same one";
}

/// What was idle longest goes where there is less room.
TEST_F(FlowMemoryTest, TheLatestFlowsFindRoomInSmallerTables) {
    shape.workers = 1;
    {
        const FlowMemory memory = open();
        FlowTable table(memory.buckets(0));
        for (uint32_t n = 1; n <= 128; n++) table.insert(n * 0x9e3779b97f4a7c15, Flow(1000 - n, 3, 0));
    }
    shape.buckets = 2;
    const FlowMemory memory = open();
    ASSERT_TRUE(memory.before());
    FlowTable table(memory.buckets(0));
    table.count();
    EXPECT_EQ(table.size(), 8u);
    for (uint32_t n = 1; n <= 8; n++) EXPECT_NE(table.find(n * 0x9e3779b97f4a7c15, 1000), nullptr) << n;
}

/// Sizes, workers and hashes of any kind in files of another shape: never a fault, and either all or a
/// reason.
TEST_F(FlowMemoryTest, FilesOfAnyContentsAreReadWithinTheirBounds) {
    uint64_t state = 1;
    const auto random = [&state] {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return state;
    };
    for (int round = 0; round < 300; round++) {
        shape.workers = 2;
        shape.buckets = 64;
        put_flow();
        for (const char* name : {"flows.0", "flows.1"}) {
            std::fstream file(directory / name, std::ios::in | std::ios::out | std::ios::binary);
            const size_t changes = random() % 4;
            for (size_t i = 0; i < changes; i++) {
                const uint64_t word = random() >> (random() % 64);
                const size_t at =
                    random() % 3 == 0 ? FlowMemory::kBucketsAt + random() % 4096 : random() % 128;
                file.seekp(static_cast<std::streamoff>(at / 8 * 8));
                file.write(reinterpret_cast<const char*>(&word), sizeof word);
            }
            file.close();
            if (random() % 8 == 0) std::filesystem::resize_file(directory / name, random() % 9000);
        }
        shape.workers = static_cast<uint16_t>(1 + random() % 4);
        shape.buckets = size_t{32} << random() % 3;
        const FlowMemory memory = open();
        EXPECT_TRUE(memory.begun_anew().empty() || !memory.before());
        for (uint16_t worker = 0; worker < shape.workers; worker++) {
            FlowTable table(memory.buckets(worker));
            table.count();
            for (uint32_t n = 0; n < 64; n++) table.insert(random(), Flow(100, 5, 0));
        }
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
