// SPDX-License-Identifier: Apache-2.0
// What anybody on the backplane can say about moves, to all three state machines: a series of messages goes
// to keyraild's Moves, to the holder's Mover and to the target's Receiver.
#include <spdlog/spdlog.h>

#include "chassis.pb.h"
#include "control/agent/mover.h"
#include "control/agent/receiver.h"
#include "control/daemon/moves/moves.h"
#include "link.pb.h"
#include "tests/fuzz/series.h"
#include "tests/support/session_names.h"
#include "tests/support/temp_store.h"

namespace keyrail {
namespace {

constexpr NameKeys::Key kKey = {1, 2, 3};
constexpr size_t kSessions = 8;

class Links : public MoveHost, public MoverHost {
  public:
    explicit Links(const NameKeys& names) : names_(names) {}
    [[nodiscard]] std::optional<BladeId> home(const SessionName& name) const override {
        return names_.home(name);
    }
    [[nodiscard]] bool connected(BladeId blade) const override { return blade < 3; }
    Result<void> send(BladeId blade, chassis::Envelope) override {
        return blade == 0 ? fail("it does not read") : Result<void>{};
    }
    void send(link::ToDataplane) override {}
    void drained(BladeId, MoveResult) override {}
    [[nodiscard]] const LatestState* latest(const SessionName&) const override { return nullptr; }
    [[nodiscard]] bool dead(BladeId blade) const override { return blade == 2; }
    [[nodiscard]] bool keeps(const std::string& service) const override { return service == "www"; }
    bool restore(const MoveOrder&, const NotUsed&) override { return true; }
    void restored(const MoveOrder&) override {}
    std::string receipt(const SessionName&, BladeId blade, uint64_t order) override {
        return std::string(14, static_cast<char>(order)) + std::string(2, static_cast<char>(blade));
    }
    /// Those of odd blades are good.
    std::optional<uint64_t> order_in(const std::string& shown, const SessionName&, BladeId blade) override {
        return blade % 2 && !shown.empty() ? std::optional<uint64_t>(shown.size()) : std::nullopt;
    }
    void report(chassis::MoveDone) override {}
    uint64_t transfer_number() override { return ++transfers_; }
    KnownFate fate(const SessionName&, Mover::Time) override { return {}; }
    void left(const SessionRecord&) override {}
    void stayed(const SessionName&) override {}

  private:
    const NameKeys& names_;
    uint64_t transfers_ = 0;
};

ConfigPtr config_of_three() {
    Config config;
    for (const BladeId id : {BladeId{0}, BladeId{1}, BladeId{2}}) config.blades[id].id = id;
    auto& service = config.services.emplace_back();
    service.name = "www";
    service.blades = {0, 1, 2};
    return std::make_shared<const Config>(std::move(config));
}

struct World {
    World() {
        spdlog::set_level(spdlog::level::off);
        names.set(0, kKey);
        served.add("www", 443);
        receiver.configure({0, 2});
        SessionRecord record;
        for (uint8_t i = 0; i < kSessions; i++) {
            testing::fill(record, i, 50);
            sessions[i] = record.name = testing::name_at(kKey, 0, 1, i);
            (void)store->put(record);
        }
    }

    /// Names cannot be guessed: one of a single byte stands for one of ours.
    void name(std::string& bytes) const {
        if (bytes.size() == 1) bytes = bytes_of(sessions[static_cast<uint8_t>(bytes[0]) % kSessions]);
    }
    void name_all(chassis::Envelope& message) const {
        if (message.has_order()) name(*message.mutable_order()->mutable_name());
        if (message.has_pull()) name(*message.mutable_pull()->mutable_name());
        if (message.has_expect()) name(*message.mutable_expect()->mutable_name());
        if (message.has_transfer()) name(*message.mutable_transfer()->mutable_record()->mutable_name());
        if (message.has_announce())
            for (auto& held : *message.mutable_announce()->mutable_held()) name(*held.mutable_name());
    }

    void take(chassis::Envelope& message) {
        name_all(message);
        const auto from = BladeId::or_none(message.request() % 4);
        if (message.has_order()) mover.order(message.order(), now);
        if (message.has_transfer_ack())
            mover.acknowledged(from, message.request(), message.transfer_ack(), now);
        if (message.has_transfer()) receive(from, message);
        if (message.has_expect()) receiver.expect(message.expect(), now);
        if (message.has_transfers_refused()) moves.refused(from, message.transfers_refused());
        if (message.has_purge())
            if (const auto what = Purged::from(message.purge())) {
                fences.add(*what, message.purge().number(), now, message.request());
                moves.purge(*what, now);
            }
        if (message.has_move_done()) moves.done(from, message.move_done(), now);
        if (message.has_announce()) moves.announce(from, message.announce());
        if (message.has_pull()) moves.pull(from, message.request(), message.pull(), now);
        if (message.has_query()) now += std::chrono::milliseconds(message.request() % 10'000);  // time passes
        mover.poll(now);
        receiver.poll(now);
        moves.tick(now);
    }
    /// Whatever it is, a repetition of it gets the same answer and changes nothing.
    void receive(BladeId from, const chassis::Envelope& message) {
        const auto ask = [&] {
            const auto ack = receiver.receive(from, message.request(), message.transfer(), now);
            return ack ? ack->SerializeAsString() : "it waits";
        };
        const auto first = ask();
        const uint64_t held = store->stats().sessions;
        if (first != ask() || store->stats().sessions != held) __builtin_trap();
        if (receiver.waiting() > Receiver::kMaxEarly) __builtin_trap();
    }

    testing::TempStore store{1 << 20};
    std::array<SessionName, kSessions> sessions;
    NameKeys names;
    ServedServices served;
    Links links{names};
    Moves moves{config_of_three(), links, 1};
    Fences fences;
    Mover mover{*store, served, fences, links};
    Receiver receiver{*store,
                      served,
                      fences,
                      1,
                      names,
                      {[](const SessionName&, const Arrival&, chassis::MoveDone) {},
                       [](uint16_t, uint64_t, chassis::TransferAck) {}, [](uint16_t, const std::string&) {}}};
    Mover::Time now{std::chrono::hours(1)};
};

}  // namespace
}  // namespace keyrail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    keyrail::World world;
    keyrail::testing::for_each_message(data, size, [&](auto& message) { world.take(message); });
    if (world.mover.under_way() > keyrail::Mover::kMaxOrders) __builtin_trap();
    return 0;
}
