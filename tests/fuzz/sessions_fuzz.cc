// SPDX-License-Identifier: Apache-2.0
// What is said about sessions that are not being moved: to keyraild by agents (Checkpoint, PoolKeys), to an
// agent by keyraild (List, Purge, Query). The request number says who speaks: blade 0, 1 or 2, or nobody that
// is known.
#include <spdlog/spdlog.h>

#include <asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "control/agent/store_questions.h"
#include "control/daemon/moves/checkpoints.h"
#include "tests/fuzz/series.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

constexpr uint8_t kSessions = 8, kBlades = 3;
constexpr uint64_t kNow = 1'700'000'000'000;

class Links : public CheckpointHost {
  public:
    Links() {
        for (uint16_t blade = 0; blade < kBlades; blade++)
            members_[blade] = {"certificate", std::string(1, static_cast<char>('a' + blade))};
    }
    Result<void> send(uint16_t blade, chassis::Envelope message) override {
        for (const auto& state : message.stale().sessions())
            if (state.name().size() != SessionName{}.size() || !state.sealed().empty()) __builtin_trap();
        for (const auto& key : message.pool_keys().keys())  // nobody gets what is another one's
            if (key.recipient() != members_.at(blade).recipient) __builtin_trap();
        return {};
    }
    [[nodiscard]] PoolKeyKeeper::Members members() const override { return members_; }
    /// Some are elsewhere, some nobody knows, and some are under way.
    [[nodiscard]] std::optional<uint16_t> holder(const SessionName& name) const override {
        return name[1] % 4 == 3 ? std::nullopt : std::optional<uint16_t>(name[1] % 4);
    }
    [[nodiscard]] bool under_way(const SessionName& name) const override { return name[1] % 5 == 4; }
    void not_restored(uint64_t) override {}

  private:
    PoolKeyKeeper::Members members_;
};

/// Nothing is written: without a directory it would be where the fuzzer runs.
ConfigPtr nowhere() {
    Config config;
    config.state_dir = "/nonexistent";
    auto& service = config.services.emplace_back();
    service.name = "www";
    service.blades = {0, 1, 2};
    service.repository = RepositoryKind::lmdb;  // not open: what would go there is dropped
    return std::make_shared<const Config>(std::move(config));
}

struct World {
    World() {
        spdlog::set_level(spdlog::level::off);
        served.add("www", 443);
        SessionRecord record;
        for (uint8_t i = 0; i < kSessions; i++) {
            testing::fill(record, i, 50);
            if (i % 2 == 0) record.service = service_id("www");
            (void)store->put(record);
        }
    }

    /// Names cannot be guessed: one of a single byte stands for one of ours.
    static void name(std::string& bytes) {
        if (bytes.size() != 1) return;
        const SessionName name = testing::name_of(static_cast<uint8_t>(bytes[0]) % kSessions);
        bytes.assign(name.begin(), name.end());
    }

    void take(chassis::Envelope& message) {
        const auto blade = static_cast<uint16_t>(message.request() % (kBlades + 1));
        if (message.has_checkpoint()) {
            for (auto& state : *message.mutable_checkpoint()->mutable_sessions()) name(*state.mutable_name());
            checkpoints.checkpoint(blade, message.checkpoint());
        }
        if (message.has_pool_keys()) checkpoints.pool_keys(blade, message.pool_keys());
        if (message.has_purge()) name(*message.mutable_purge()->mutable_name());
        ask(message);
        checkpoints.tick(now += 100);
    }

    /// The agent's answers: as many as there are, and no more gone than are said to be.
    void ask(const chassis::Envelope& question) {
        const uint64_t before = store->stats().sessions;
        const chassis::Envelope answer = answer_question(*store, served, question);
        const uint64_t left = store->stats().sessions;
        if (answer.request() != question.request()) __builtin_trap();
        if (before - left != answer.purge_reply().purged()) __builtin_trap();
        if (static_cast<uint64_t>(answer.list_reply().sessions_size()) > before) __builtin_trap();
        if (question.has_purge() && question.purge().all() && left != 0) __builtin_trap();
    }

    testing::TempStore store{1 << 20};
    ServedServices served;
    Links links;
    asio::io_context io;
    Checkpoints checkpoints{io.get_executor(), nowhere(), links};
    uint64_t now = kNow;
};

}  // namespace
}  // namespace keyrail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    keyrail::World world;
    keyrail::testing::for_each_message(data, size, [&](auto& message) { world.take(message); });
    const auto report = world.checkpoints.report();
    if (report["sessions"] > report["reported"] || report["stale"] > report["reported"]) __builtin_trap();
    return 0;
}
