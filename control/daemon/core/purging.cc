// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/core/purging.h"

#include <spdlog/spdlog.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

namespace keyrail {

namespace {
constexpr std::chrono::milliseconds kAnswerTimeout{2000};
}

struct Purging::Round {
    explicit Round(asio::io_context& io) : over(io, kAnswerTimeout * 2) {}
    Answer answer;
    size_t left = 0;  // blades and repositories that have not answered
    asio::steady_timer over;
    void one_less() {
        if (--left == 0) over.cancel();
    }
};

asio::awaitable<void> Purging::tell(BladeId blade, chassis::Purge what, std::shared_ptr<Round> round) {
    chassis::Envelope question;
    *question.mutable_purge() = what;
    const auto answer = co_await at_.agents.ask(blade, std::move(question), kAnswerTimeout);
    const bool good = answer && answer->has_purge_reply();
    const uint32_t held = good ? answer->purge_reply().held() : 0;
    if (good) round->answer.purged += answer->purge_reply().purged();
    if (good && held == 0)
        purges_.answered(blade, what.number());
    else
        round->answer.failed.emplace_back(
            blade,
            !answer ? answer.error().message
                    : fmt::format("a process holds {} parts of its store, which cannot be looked at", held));
    round->one_less();
}

/// `round`: who waits for the answer; nullptr: nobody any more.
void Purging::repositories(const chassis::Purge& what, const std::shared_ptr<Round>& round) {
    const auto purged = Purged::from(what);
    const auto done = [this, number = what.number()] { purges_.answered(Purges::kRepositories, number); };
    if (purged->name) {
        at_.checkpoints.purge(*purged->name);
        return at_.repositories.forget(*purged->name, [round, done] {
            done();
            if (round) round->one_less();
        });
    }
    const auto answered = [round](const std::vector<std::string>& problems) {
        if (!round) return;
        for (const std::string& problem : problems)
            round->answer.failed.emplace_back(BladeId{}, "a repository is not purged yet: " + problem);
        round->one_less();
    };
    at_.repositories.purge(*purged, answered, done);
}

asio::awaitable<Purging::Answer> Purging::purge(chassis::Purge what) {
    const auto purged = Purged::from(what);
    if (!purged) co_return Answer{};
    what.set_number(at_.moves.purge(*purged, std::chrono::steady_clock::now()));
    std::set<BladeId> blades;
    for (const auto& [id, blade] : config_->blades) blades.insert(id);
    const auto kept = purges_.add(what, unix_ms());
    at_.moves_purged();
    const auto round = std::make_shared<Round>(io_);
    round->left = blades.size() + 1;
    for (const BladeId blade : blades) asio::co_spawn(io_, tell(blade, what, round), asio::detached);
    repositories(what, round);
    asio::error_code ignored;
    if (round->left > 0) co_await round->over.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (round->left > 0) round->answer.failed.emplace_back(BladeId{}, "a repository does not answer");
    if (!kept && !round->answer.failed.empty())
        round->answer.failed.emplace_back(
            BladeId{}, "after a restart of keyraild nobody is told any more: " + kept.error().message);
    keep();
    co_return round->answer;
}

Result<void> Purging::load() {
    if (auto loaded = purges_.load(); !loaded) return loaded;
    at_.moves.numbers_above(purges_.last_number());
    return {};
}

void Purging::go_on() {
    for (const chassis::Purge& purge : purges_.of(Purges::kRepositories)) repositories(purge, nullptr);
}

/// What has been answered need not be told after a restart.
void Purging::keep() {
    purges_.drop_old(unix_ms());
    if (const auto saved = purges_.save(); !saved)
        if (const auto times = log_.happened(saved.error().message))
            spdlog::warn("purges: {}{}; after a restart some are told again, and some to nobody",
                         saved.error().message, times_text(*times));
}

void Purging::again() {
    keep();
    for (const auto& [blade, config] : config_->blades) {
        const auto missed = purges_.of(blade);
        if (missed.empty() || !at_.agents.connected(blade) || told_again_.contains(blade)) continue;
        told_again_.insert(blade);
        const auto round = std::make_shared<Round>(io_);
        round->left = missed.size() + 1;
        for (const chassis::Purge& purge : missed)
            asio::co_spawn(io_, tell(blade, purge, round), asio::detached);
        asio::co_spawn(
            io_,
            [](Purging& self, BladeId told, std::shared_ptr<Round> waits) -> asio::awaitable<void> {
                asio::error_code ignored;
                co_await waits->over.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
                self.told_again_.erase(told);
            }(*this, blade, round),
            asio::detached);
        round->one_less();
    }
}

}  // namespace keyrail
