// SPDX-License-Identifier: Apache-2.0
// Session names (DESIGN.md section 4): the hooks make them; dispatcher, keyraild, agents and hooks open them,
// each with its own AES. All of them agree, and none takes a name of which a bit was changed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "control/agent/name_keys.h"
#include "control/hooks/session_names.h"
#include "control/protocol/session_home.h"
#include "dataplane/core/names.h"
#include "tests/support/session_names.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

using testing::name_at;
using testing::with_bit_changed;
using testing::without_tag;
using Key = std::array<uint8_t, kNameKeySize>;

constexpr Key kKey = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr uint8_t kGeneration = 7;

/// All that open names, with the same keys.
class Names : public ::testing::Test {
  protected:
    Names() { give(kGeneration, kKey); }

    void give(uint8_t generation, const Key& key) {
        snapshot.name_keys[generation] = std::make_unique<NameKey>();
        expand_name_key(key, *snapshot.name_keys[generation]);
        StoreControl control;
        control.blade_id = 1;
        control.name_key_count = 1;
        control.name_keys[0].generation = generation;
        control.name_keys[0].key = key;
        store->control().read([&](const StoreControl& before) {
            for (uint16_t i = 0; i < before.name_key_count; i++)
                control.name_keys[control.name_key_count++] = before.name_keys[i];
        });
        store->set_control(control);
        agent.set(generation, key);
    }
    uint16_t dispatcher(const SessionName& name) {
        PendingHello hello;
        hello.facts.name_count = 1;
        hello.facts.names[0] = name;
        decrypter->decrypt({&hello, 1}, snapshot, *stats);
        return hello.facts.homes[0];
    }
    void expect_home(const SessionName& name, BladeId blade) {
        EXPECT_EQ(dispatcher(name), blade);
        EXPECT_EQ(agent.home(name), blade);
        EXPECT_TRUE(hooks::is_ours(*store, name));
    }
    void expect_nobodys(const SessionName& name, const std::string& what) {
        EXPECT_EQ(dispatcher(name), 0) << what;
        EXPECT_EQ(agent.home(name), std::nullopt) << what;
        EXPECT_FALSE(hooks::is_ours(*store, name)) << what;
    }

    testing::TempStore store;
    NameKeys agent;
    Snapshot snapshot;
    std::unique_ptr<NameDecrypter> decrypter = std::move(NameDecrypter::create().value());
    std::unique_ptr<WorkerStats> stats = std::make_unique<WorkerStats>();
};

/// By openssl enc -aes-128-ecb: 00000000 01 00 0123 0102030405060708 with the key, and that with the tag key,
/// which is aeae9e6e4ccaaa7e016a136a4842c8d0.
TEST_F(Names, AKnownOne) {
    constexpr SessionName kKnown = {0x07, 0x70, 0x25, 0xaf, 0x62, 0x0b, 0x66, 0x2e, 0xd6, 0x1a, 0x39,
                                    0xc5, 0x33, 0x96, 0xdb, 0x41, 0xcd, 0x93, 0x31, 0x71, 0xb3, 0x5e,
                                    0xff, 0xab, 0xfd, 0x4d, 0xd6, 0x2a, 0xed, 0xac, 0xb1, 0x73};
    EXPECT_EQ(name_at(kKey, kGeneration, 0x0123, 0x0807060504030201), kKnown);
    expect_home(kKnown, 0x0123);
}

TEST_F(Names, WhatTheHooksMakeAllOpen) {
    std::mt19937_64 random(1);
    for (uint16_t id = BladeId::kMin; id <= BladeId::kMax; id += 89) {
        const BladeId blade(id);
        Key key;
        std::ranges::generate(key, [&] { return static_cast<uint8_t>(random()); });
        StoreControl control;
        control.blade_id = blade;
        control.name_key_count = 1;
        control.name_keys[0].generation = static_cast<uint8_t>(random());
        control.name_keys[0].key = key;
        store->set_control(control);
        agent.set(control.name_keys[0].generation, key);
        auto& place = snapshot.name_keys[control.name_keys[0].generation] = std::make_unique<NameKey>();
        expand_name_key(key, *place);
        SessionName name;
        ASSERT_TRUE(hooks::make_session_name(*store, name));
        expect_home(name, blade);
    }
    EXPECT_EQ(stats->names_forged.get(), 0u);
}

/// With the generation beside it known, too: a name goes by its own key only.
TEST_F(Names, NoBitOfOneCanBeChanged) {
    Key other = kKey;
    other[3] ^= 0x40;
    give(kGeneration ^ 1, other);
    const SessionName name = name_at(kKey, kGeneration, 4095, 99);
    expect_home(name, 4095);
    for (size_t bit = 0; bit < 8 * name.size(); bit++)
        expect_nobodys(with_bit_changed(name, bit), "bit " + std::to_string(bit));
    EXPECT_EQ(stats->names_forged.get(), 8 * kNameTagSize) << "the others say no home, either";
}

TEST_F(Names, PartsOfTwoMakeNoThird) {
    const SessionName one = name_at(kKey, kGeneration, 1, 1), two = name_at(kKey, kGeneration, 1, 2);
    SessionName both = one;
    std::copy(two.begin() + kNameTagOffset, two.end(), both.begin() + kNameTagOffset);
    expect_nobodys(both, "the block of one, the tag of the other");
}

TEST_F(Names, OfBeforeTheyHadTagsAreAMiss) {
    for (uint64_t i = 0; i < 50; i++)
        expect_nobodys(without_tag(name_at(kKey, kGeneration, 3, 7), i * 0x9e3779b97f4a7c15), "old layout");
    EXPECT_EQ(stats->names_forged.get(), 50u);
}

TEST_F(Names, OtherKeysMakeNobodys) {
    Key other = kKey;
    other[15] ^= 1;
    expect_nobodys(name_at(other, kGeneration, 3, 7), "another chassis'");
    expect_nobodys(name_at(kKey, kGeneration + 1, 3, 7), "of a generation that nobody knows");
    EXPECT_EQ(stats->names_forged.get(), 0u) << "foreign, not forged";
}

/// A burst, many names in each hello, good ones among forged ones: each counts for itself.
TEST_F(Names, ForgedOnesDoNotHideGoodOnes) {
    std::vector<PendingHello> hellos(64);
    for (size_t i = 0; i < hellos.size(); i++) {
        HelloFacts& facts = hellos[i].facts;
        facts.name_count = kMaxNames;
        for (size_t n = 0; n < kMaxNames; n++) {
            const SessionName name = name_at(kKey, kGeneration, static_cast<uint16_t>(i + 1), n);
            facts.names[n] = n + 1 == kMaxNames ? name : without_tag(name, i);
        }
    }
    decrypter->decrypt(hellos, snapshot, *stats);
    for (size_t i = 0; i < hellos.size(); i++)
        for (size_t n = 0; n < kMaxNames; n++)
            EXPECT_EQ(hellos[i].facts.homes[n], n + 1 == kMaxNames ? i + 1 : 0) << i << " " << n;
    EXPECT_EQ(stats->names_forged.get(), 64u * (kMaxNames - 1));
    EXPECT_EQ(stats->name_jobs.get(), 2u) << "however many";
}

/// Without the key nothing tells a name from random bytes, but for its generation: each bit is set in half of
/// them, and nothing of one is in another.
TEST_F(Names, LookRandom) {
    constexpr size_t kNames = 4096, kSigma = 32;  // of a binomial: sqrt(4096 / 4)
    std::array<size_t, 8 * kSessionNameSize> set{};
    std::set<uint64_t> pieces;
    for (size_t i = 0; i < kNames; i++) {
        SessionName name;
        ASSERT_TRUE(hooks::make_session_name(*store, name));
        for (size_t bit = 0; bit < set.size(); bit++) set[bit] += name[bit / 8] >> bit % 8 & 1;
        for (const size_t at : {1, 9, 17, 24}) {
            uint64_t piece = 0;
            std::memcpy(&piece, &name[at], sizeof piece);
            EXPECT_TRUE(pieces.insert(piece).second);
        }
    }
    for (size_t bit = 8; bit < set.size(); bit++)
        EXPECT_NEAR(static_cast<double>(set[bit]), kNames / 2, 6 * kSigma) << bit;
}

}  // namespace
}  // namespace keyrail
