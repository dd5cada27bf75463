// SPDX-License-Identifier: Apache-2.0
// The queue of bytes behind a channel: nothing is lost, swapped or left behind, however it is used.
#include "control/protocol/secret_buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace keyrail {
namespace {

/// Until `commit` the room of a buffer may hold anything but what went through it.
size_t fill(SecretBuffer& buffer, size_t least, size_t count, uint8_t byte) {
    const std::span<uint8_t> room = buffer.room(least);
    EXPECT_GE(room.size(), least);
    EXPECT_TRUE(std::ranges::all_of(room, [](uint8_t seen) { return seen == 0; })) << "not wiped";
    std::ranges::fill(room.first(count), byte);
    buffer.commit(count);
    return room.size();
}

TEST(SecretBuffer, IsAQueueAndWipesWhatLeaves) {
    std::mt19937_64 random(1);
    SecretBuffer buffer;
    std::deque<uint8_t> model;
    for (int i = 0; i < 3000; i++) {
        const size_t least = 1 + random() % (i % 100 == 0 ? 300'000 : 20'000), count = 1 + random() % least;
        const auto byte = static_cast<uint8_t>(1 + random() % 255);
        fill(buffer, least, count, byte);
        model.insert(model.end(), count, byte);
        const size_t gone = std::min(model.size(), static_cast<size_t>(random() % 30'000));
        buffer.consume(gone);
        model.erase(model.begin(), model.begin() + static_cast<std::ptrdiff_t>(gone));
        ASSERT_TRUE(std::ranges::equal(buffer.bytes(), model)) << i;
    }
}

TEST(SecretBuffer, WhatIsReadAndConsumedInStepsNeedsNoOtherMemory) {
    constexpr size_t kRecord = 17'408, kMessage = 300;
    SecretBuffer buffer;
    const uint8_t* const where = buffer.room(1).data();
    for (int i = 0; i < 1000; i++) {
        while (buffer.size() + kRecord < SecretBuffer::kKept) fill(buffer, kRecord, 10'000, 1);
        while (buffer.size() > kMessage) buffer.consume(kMessage);
        ASSERT_TRUE(buffer.bytes().data() >= where && buffer.bytes().data() < where + SecretBuffer::kKept);
    }
}

}  // namespace
}  // namespace keyrail
