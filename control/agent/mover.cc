// SPDX-License-Identifier: Apache-2.0
#include "control/agent/mover.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <deque>
#include <map>
#include <optional>

#include "chassis.pb.h"
#include "control/agent/records.h"

namespace keyrail {

using std::chrono::steady_clock;

namespace {

/// Tells one transfer from all others, so that a repeated one can be recognised.
uint64_t transfer_number() {
    uint64_t number = 0;
    while (number == 0 && RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof number) == 1) continue;
    return number;
}

}  // namespace

struct Mover::Impl : std::enable_shared_from_this<Mover::Impl> {
    Impl(asio::any_io_executor executor_in, Store& store_in, const ServedServices& served_in, Peers& peers_in,
         Report report_in)
        : executor(std::move(executor_in)),
          store(store_in),
          served(served_in),
          peers(peers_in),
          report(std::move(report_in)) {}

    struct Outcome {
        chassis::MoveResult result;
        std::string reason;
        uint64_t expires_ms = 0;
    };
    /// A record that is on its way.
    struct Transfer {
        uint16_t to;
        asio::steady_timer timer;
        std::optional<chassis::TransferAck> ack;
        bool broken = false;
    };

    asio::any_io_executor executor;
    Store& store;
    const ServedServices& served;
    Peers& peers;
    Report report;
    std::map<uint64_t, std::shared_ptr<Transfer>> transfers;  // by request number
    std::map<uint64_t, std::optional<Outcome>> orders;        // by order id; nullopt: under way
    std::deque<uint64_t> finished;                            // oldest first
    size_t running = 0;
    uint64_t era = 0;      // counts connections to keyraild
    bool stopped = false;  // store and peers are gone

    asio::awaitable<void> run(std::shared_ptr<Impl> self, chassis::Order order);
    asio::awaitable<Outcome> carry_out(const chassis::Order& order);
    asio::awaitable<bool> appears(const SessionName& name, std::chrono::microseconds budget);
    asio::awaitable<Outcome> send(ChannelPtr channel, const chassis::Order& order,
                                  const SessionRecord& record);
    Outcome put_back(const SessionRecord& record, chassis::MoveResult result, std::string reason);
    void tell(uint64_t order_id, const Outcome& outcome);
    void remember(uint64_t order_id, const Outcome& outcome);
};

Mover::Impl::Outcome Mover::Impl::put_back(const SessionRecord& record, chassis::MoveResult result,
                                           std::string reason) {
    if (store.put(record) != Store::Put::kStored)
        return {chassis::LOST, reason + "; it could not be put back"};
    return {result, std::move(reason), record.expires_ms};
}

asio::awaitable<Mover::Impl::Outcome> Mover::Impl::send(ChannelPtr channel, const chassis::Order& order,
                                                        const SessionRecord& record) {
    const uint64_t number = transfer_number();
    chassis::Envelope message;
    message.set_request(number);
    message.mutable_transfer()->set_order_id(order.order_id());
    to_message(record, served, wall_clock_ms(), *message.mutable_transfer()->mutable_record());
    if (auto sent = channel->send(std::move(message)); !sent)
        co_return put_back(record, chassis::UNREACHABLE, sent.error().message);

    const auto wait =
        std::max<steady_clock::duration>(kAckTimeout, std::chrono::microseconds(order.budget_us()));
    const auto transfer = std::make_shared<Transfer>(
        Transfer{static_cast<uint16_t>(order.to()),
                 asio::steady_timer(executor, std::min<steady_clock::duration>(wait, kLongestBudget)),
                 {}});
    transfers.emplace(number, transfer);
    asio::error_code ignored;
    co_await transfer->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    transfers.erase(number);
    if (stopped) co_return Outcome{chassis::LOST, "the agent ended"};

    if (!transfer->ack)
        co_return Outcome{chassis::LOST, transfer->broken
                                             ? "the connection broke; whether it arrived is not known"
                                             : "no acknowledgement in time"};
    if (!transfer->ack->stored()) co_return put_back(record, chassis::REFUSED, transfer->ack->reason());
    co_return Outcome{chassis::MOVED, "", record.expires_ms};
}

/// The client knows its session a moment before the store does: OpenSSL sends its last flight, then calls the
/// hook. A client that is back at once gets as much patience as costs it less than the handshake would.
asio::awaitable<bool> Mover::Impl::appears(const SessionName& name, std::chrono::microseconds budget) {
    constexpr std::chrono::microseconds kStep{500}, kLongest{5000};
    const auto deadline = steady_clock::now() + std::min(budget / 4, kLongest);
    asio::steady_timer timer(executor);
    while (!store.contains(name)) {
        if (steady_clock::now() >= deadline) co_return false;
        timer.expires_after(kStep);
        asio::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return true;
}

asio::awaitable<Mover::Impl::Outcome> Mover::Impl::carry_out(const chassis::Order& order) {
    if (order.name().size() != kSessionNameSize || order.to() > kBladeIdMax)
        co_return Outcome{chassis::REFUSED, "the order makes no sense"};
    SessionName name;
    std::ranges::copy(order.name(), name.begin());
    const bool here = co_await appears(name, std::chrono::microseconds(order.budget_us()));
    if (!here) co_return Outcome{chassis::NOT_FOUND, ""};
    // Connect first: as long as the record is here, a target that cannot be reached costs nothing.
    const auto budget = order.budget_us() == 0 ? kAckTimeout : std::chrono::microseconds(order.budget_us());
    auto channel = co_await peers.channel(
        static_cast<uint16_t>(order.to()),
        steady_clock::now() + std::min<steady_clock::duration>(budget, kLongestBudget));
    if (stopped || !channel) co_return Outcome{chassis::UNREACHABLE, stopped ? "" : channel.error().message};
    SessionRecord record;
    if (!store.take(name, record) || record.expires_ms <= wall_clock_ms())
        co_return Outcome{chassis::NOT_FOUND, ""};
    co_return co_await send(*channel, order, record);
}

asio::awaitable<void> Mover::Impl::run([[maybe_unused]] std::shared_ptr<Impl> self, chassis::Order order) {
    const uint64_t began_in = era;
    const Outcome outcome = co_await carry_out(order);
    running--;
    if (outcome.result == chassis::LOST)
        spdlog::warn("mover: order {} to blade {}: {}; the session is destroyed", order.order_id(),
                     order.to(), outcome.reason);
    if (stopped || began_in != era)
        co_return;  // the keyraild that ordered it is gone, the new one learns by Announce
    remember(order.order_id(), outcome);
    tell(order.order_id(), outcome);
}

void Mover::Impl::tell(uint64_t order_id, const Outcome& outcome) {
    if (outcome.result == chassis::MOVED) return;
    chassis::MoveDone done;
    done.set_order_id(order_id);
    done.set_result(outcome.result);
    done.set_reason(outcome.reason);
    done.set_expires_ms(outcome.expires_ms);
    report(std::move(done));
}

void Mover::Impl::remember(uint64_t order_id, const Outcome& outcome) {
    orders[order_id] = outcome;
    finished.push_back(order_id);
    if (finished.size() <= 2 * kMostOrders) return;
    orders.erase(finished.front());
    finished.pop_front();
}

Mover::Mover(asio::any_io_executor executor, Store& store, const ServedServices& served, Peers& peers,
             Report report)
    : impl_(std::make_shared<Impl>(std::move(executor), store, served, peers, std::move(report))) {}
Mover::~Mover() {
    impl_->stopped = true;
    for (auto& [number, transfer] : impl_->transfers) transfer->timer.cancel();
}

void Mover::order(const chassis::Order& order) {
    const auto known = impl_->orders.find(order.order_id());
    if (known != impl_->orders.end()) {
        if (known->second) impl_->tell(order.order_id(), *known->second);
        return;
    }
    if (impl_->running >= kMostOrders)
        return impl_->tell(order.order_id(), {chassis::REFUSED, "too many orders at once"});
    impl_->running++;
    impl_->orders.emplace(order.order_id(), std::nullopt);
    asio::co_spawn(impl_->executor, impl_->run(impl_, order), asio::detached);
}

void Mover::forget() {
    impl_->era++;
    impl_->orders.clear();
    impl_->finished.clear();
}

void Mover::acknowledged(uint16_t blade, uint64_t request, const chassis::TransferAck& ack) {
    const auto found = impl_->transfers.find(request);
    if (found == impl_->transfers.end() || found->second->to != blade) return;
    found->second->ack = ack;
    found->second->timer.cancel();
}

void Mover::lost(uint16_t blade) {
    for (auto& [number, transfer] : impl_->transfers) {
        if (transfer->to != blade) continue;
        transfer->broken = true;
        transfer->timer.cancel();
    }
}

}  // namespace keyrail
