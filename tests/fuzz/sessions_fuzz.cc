// SPDX-License-Identifier: Apache-2.0
// What is said about sessions that are not being moved: to keyraild by agents (Checkpoint), to an agent by
// keyraild (List, Purge, Query), and what a repository may have become. The request number says who speaks:
// blade 0, 1 or 2, or nobody that is known.
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "control/agent/store_questions.h"
#include "control/daemon/moves/checkpoints.h"
#include "tests/fuzz/series.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

constexpr uint8_t kSessions = 8, kBlades = 3;
constexpr uint64_t kNow = 1'700'000'000'000;

class Links : public CheckpointHost, public SealedSessions {
  public:
    Result<void> send(BladeId, chassis::Envelope message) override {
        for (const auto& state : message.stale().sessions())
            if (state.name().size() != SessionName{}.size() || !state.sealed().empty()) __builtin_trap();
        return {};
    }
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const override {
        return BladeId::or_none(name[1] % 3u);
    }
    /// Some are elsewhere, some nobody knows, and some are under way.
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& name) const override {
        return name[1] % 4 == 3 ? std::nullopt : std::optional(BladeId::or_none(name[1] % 4u));
    }
    [[nodiscard]] bool under_way(const SessionName& name) const override { return name[1] % 5 == 4; }
    [[nodiscard]] bool dead(BladeId blade) const override { return blade == 2; }
    void not_restored(uint64_t) override {}
    std::string receipt(const SessionName&, BladeId, uint64_t) override { return std::string(16, 'r'); }
    std::optional<uint64_t> order_in(const std::string& shown, const SessionName&, BladeId) override {
        return shown.size() % 2 ? std::optional<uint64_t>(1) : std::nullopt;
    }
    [[nodiscard]] bool purging(BladeId blade, const SessionName&, ServiceId) const override {
        return blade == 1;
    }
    [[nodiscard]] bool keeps(const std::string&) const override { return true; }
    void keep(const std::string& service, RepositoryChange change) override {
        if (service != "www" || change.sealed.size() > 2 * Checkpoints::kMaxSealed) __builtin_trap();
    }
    void forget(const SessionName&, uint64_t ticket) override { last_ticket = ticket; }
    bool retrieve(const Retrieval&) override { return true; }

    uint64_t last_ticket = 0;
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
            if (i % 2 == 0) record.service = ServiceId::of("www");
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
        const auto blade = BladeId::or_none(message.request() % (kBlades + 1));
        if (message.has_checkpoint()) {
            for (auto& state : *message.mutable_checkpoint()->mutable_sessions()) name(*state.mutable_name());
            checkpoints.checkpoint(blade, message.checkpoint(), message.request());
            checkpoints.forgotten(links.last_ticket);
        }
        if (message.has_restore()) restore(blade, message.restore());
        if (message.has_purge()) name(*message.mutable_purge()->mutable_name());
        ask(message);
        checkpoints.tick(now += 100);
    }

    /// What is in the repository may be anything.
    void restore(BladeId blade, const chassis::Restore& found) {
        Retrieval retrieval;
        retrieval.order.to = blade;
        retrieval.order.name = testing::name_of(found.order_id() % kSessions);
        retrieval.known = {blade, found.order_id()};
        checkpoints.retrieved(retrieval, found.session().SerializeAsString());
    }

    /// The agent's answers: as many as there are, and no more gone than are said to be.
    void ask(const chassis::Envelope& question) {
        const uint64_t before = store->stats().sessions;
        const chassis::Envelope answer = answer_question(*store, served, fences, question);
        const uint64_t left = store->stats().sessions;
        if (answer.request() != question.request()) __builtin_trap();
        if (before - left != answer.purge_reply().purged()) __builtin_trap();
        if (static_cast<uint64_t>(answer.list_reply().sessions_size()) > before) __builtin_trap();
        if (question.has_purge() && question.purge().all() && left != 0) __builtin_trap();
    }

    testing::TempStore store{1 << 20};
    ServedServices served;
    Links links;
    Fences fences;
    Checkpoints checkpoints{nowhere(), links, links};
    uint64_t now = kNow;
};

}  // namespace
}  // namespace keyrail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    keyrail::World world;
    keyrail::testing::for_each_message(data, size, [&](auto& message) { world.take(message); });
    const keyrail::CheckpointCounters counters = world.checkpoints.counters();
    if (counters.sessions > counters.reported || counters.stale > counters.reported) __builtin_trap();
    return 0;
}
