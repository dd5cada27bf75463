// SPDX-License-Identifier: Apache-2.0
// Daemon: purges. Every blade is told at once; orders are numbered, and so is a purge: what comes to a blade
// by an order from before it is stopped there (control/agent/fences.h).
#include <spdlog/spdlog.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include "control/daemon/core/daemon.h"

namespace keyrail {

namespace {
constexpr std::chrono::milliseconds kAnswerTimeout{2000};
}

struct Daemon::PurgeRound {
    explicit PurgeRound(asio::io_context& io) : over(io, kAnswerTimeout * 2) {}
    PurgeAnswer answer;
    size_t left = 0;  // blades and repositories that have not answered
    asio::steady_timer over;
    void one_less() {
        if (--left == 0) over.cancel();
    }
};

asio::awaitable<void> Daemon::purge_at(uint16_t blade, chassis::Purge what,
                                       std::shared_ptr<PurgeRound> round) {
    chassis::Envelope question;
    *question.mutable_purge() = what;
    const auto answer = co_await agents_.ask(blade, std::move(question), kAnswerTimeout);
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
void Daemon::purge_repositories(const chassis::Purge& what, const std::shared_ptr<PurgeRound>& round) {
    const auto purged = Purged::from(what);
    const auto done = [this, number = what.number()] { purges_.answered(Purges::kRepositories, number); };
    if (purged->name) {
        checkpoints_.purge(*purged->name);
        return repositories_.forget(*purged->name, [round, done] {
            done();
            if (round) round->one_less();
        });
    }
    const auto answered = [round](const std::vector<std::string>& problems) {
        if (!round) return;
        for (const std::string& problem : problems)
            round->answer.failed.emplace_back(0, "a repository is not purged yet: " + problem);
        round->one_less();
    };
    repositories_.purge(*purged, answered, done);
}

asio::awaitable<Daemon::PurgeAnswer> Daemon::purge(chassis::Purge what) {
    const auto purged = Purged::from(what);
    if (!purged) co_return PurgeAnswer{};
    what.set_number(moves_.purge(*purged, std::chrono::steady_clock::now()));
    std::set<uint16_t> blades;
    for (const auto& [id, blade] : config_->blades) blades.insert(id);
    std::set<uint16_t> all = blades;
    all.insert(Purges::kRepositories);
    const auto kept = purges_.add(what, std::move(all), unix_ms());
    if (settled_) moves_.send_directory();
    const auto round = std::make_shared<PurgeRound>(io_);
    round->left = blades.size() + 1;
    for (const uint16_t blade : blades) asio::co_spawn(io_, purge_at(blade, what, round), asio::detached);
    purge_repositories(what, round);
    asio::error_code ignored;
    if (round->left > 0) co_await round->over.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (round->left > 0) round->answer.failed.emplace_back(0, "a repository does not answer");
    if (!kept && !round->answer.failed.empty())
        round->answer.failed.emplace_back(
            0, "after a restart of keyraild nobody is told any more: " + kept.error().message);
    keep_purges();
    co_return round->answer;
}

Result<void> Daemon::load_purges() {
    if (auto loaded = purges_.load(); !loaded) return loaded;
    moves_.numbers_above(purges_.last_number());
    return {};
}

/// What has been answered need not be told after a restart.
void Daemon::keep_purges() {
    purges_.drop_old(unix_ms());
    if (const auto saved = purges_.save(); !saved)
        if (const auto times = purge_log_.happened(saved.error().message))
            spdlog::warn("purges: {}{}; after a restart some are told again, and some to nobody",
                         saved.error().message, times_text(*times));
}

/// Those that did not answer, or were away.
void Daemon::purge_again() {
    keep_purges();
    if (purges_.empty()) return;
    for (const auto& [blade, config] : config_->blades) {
        const auto missed = purges_.of(blade);
        if (missed.empty() || !agents_.connected(blade) || purging_at_.contains(blade)) continue;
        purging_at_.insert(blade);
        const auto round = std::make_shared<PurgeRound>(io_);
        round->left = missed.size() + 1;
        for (const chassis::Purge& purge : missed)
            asio::co_spawn(io_, purge_at(blade, purge, round), asio::detached);
        asio::co_spawn(
            io_,
            [](Daemon& self, uint16_t told, std::shared_ptr<PurgeRound> waits) -> asio::awaitable<void> {
                asio::error_code ignored;
                co_await waits->over.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
                self.purging_at_.erase(told);
            }(*this, blade, round),
            asio::detached);
        round->one_less();
    }
}

}  // namespace keyrail
