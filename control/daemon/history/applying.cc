// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/history/applying.h"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

namespace keyrail {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr auto kLook = 100ms;

uint64_t now_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

std::set<std::string> served(const Config& config, const Blades& blades) {
    std::set<std::string> names;
    for (const ServiceConfig& service : config.services)
        if (blades.serving(service.members(), service.port) > 0) names.insert(service.name);
    return names;
}

tl::unexpected<Applying::Refusal> refuse(Applying::Why why, std::string text) {
    return tl::make_unexpected(Applying::Refusal{why, std::move(text), {}, {}});
}

}  // namespace

Applying::Applying(asio::any_io_executor executor, History history, ApplyHost& host, Events& events)
    : executor_(executor), history_(std::move(history)), host_(host), events_(events), timer_(executor) {}

std::string Applying::pending_text() const {
    const History::Pending& pending = *history_.pending();
    const uint64_t now = now_ms();
    const auto revision = history_.revisions().find(pending.revision);
    return fmt::format(
        "revision {} of {} waits for its confirmation, {} s more; run 'keyrail config confirm' or 'keyrail "
        "config cancel' first",
        pending.revision, revision == history_.revisions().end() ? "somebody" : revision->second.actor,
        pending.until_ms > now ? (pending.until_ms - now + 999) / 1000 : 0);
}

Applying::Outcome<Config> Applying::check(const Request& request) const {
    if (history_.pending()) return refuse(Why::pending, pending_text());
    if (request.if_revision && *request.if_revision != history_.in_force())
        return refuse(Why::other_revision,
                      fmt::format("revision {} is in force, not {}; look at 'keyrail config diff', then say "
                                  "--if-revision {}",
                                  history_.in_force(), *request.if_revision, history_.in_force()));
    auto next = check_config_text(request.text, request.file);
    std::vector<std::string> mistakes =
        next ? fixed_keys_changed(host_.configuration(), *next) : next.error();
    if (mistakes.empty()) return std::move(*next);
    const std::string text = fmt::format("{} is refused, nothing has changed", request.file.string());
    return tl::make_unexpected(Refusal{Why::mistakes, text, std::move(mistakes), {}});
}

std::optional<Applying::Refusal> Applying::refused(const Request& request,
                                                   const std::vector<Effect>& effects) const {
    std::vector<Effect> losses;
    std::vector<std::string> texts;
    for (const Effect& effect : effects) {
        if (effect.harm == Harm::none || request.accepted.contains(effect.harm)) continue;
        losses.push_back(effect);
        texts.push_back(effect.text);
    }
    if (losses.empty()) return std::nullopt;
    const std::string text =
        fmt::format("refused, nothing has changed, for {}; drain what goes first (--drain), or say --yes",
                    fmt::join(texts, ", and "));
    return Refusal{Why::harm, text, {}, std::move(losses)};
}

Applying::Outcome<Applying::Applied> Applying::apply(Request request) {
    const std::string actor = request.actor, file = request.file.string();
    auto applied = try_apply(std::move(request));
    last_apply_successful_ = applied.has_value();
    if (!applied)
        events_.add("config.refused", actor, fmt::format("configuration {}: {}", file, applied.error().text));
    return applied;
}

Applying::Outcome<Applying::Applied> Applying::try_apply(Request request) {
    std::error_code ignored;  // it is its own by whatever path
    if (request.from != "rollback" && std::filesystem::equivalent(request.file, own_file_, ignored))
        request.file = own_file_;
    auto next = check(request);
    if (!next) return tl::make_unexpected(std::move(next.error()));
    Applied applied{0, effects_of(host_.configuration(), *next, host_.known_blades(), host_.costs())};
    if (auto losses = refused(request, applied.effects)) return tl::make_unexpected(std::move(*losses));
    watch(request);
    const auto on_disk = [&]() -> Result<void> {
        Revision revision;
        revision.unix_ms = now_ms();
        revision.actor = request.actor;
        revision.from = request.from;
        revision.message = request.message;
        revision.file = request.file.string();
        std::optional<uint64_t> until;
        if (request.confirm)
            until = revision.unix_ms + static_cast<uint64_t>(request.confirm->count()) * 1000;
        const auto number = history_.begin(std::move(revision), request.text, until, source_of(request));
        if (!number) return tl::make_unexpected(number.error());
        applied.revision = *number;
        return {};
    };
    if (const auto done = host_.put_in_force(std::move(*next), on_disk); !done)
        return refuse(Why::failed, done.error().message + "; nothing has changed");
    events_.add(
        request.confirm ? "config.pending" : "config.applied", request.actor,
        fmt::format("configuration {} applied as revision {}{}", request.file.string(), applied.revision,
                    request.confirm
                        ? fmt::format("; goes back in {} s unless it is confirmed", request.confirm->count())
                        : ""));
    for (const Effect& effect : applied.effects)
        if (effect.harm != Harm::none) spdlog::warn("configuration: {}", effect.text);
    if (request.confirm) timer_.after(kLook, [this] { look(); });
    return applied;
}

Applying::Outcome<Applying::Applied> Applying::reload(const std::string& actor, bool yes) {
    const fs::path file = own_file_;
    auto read = read_config(file);
    if (!read) last_apply_successful_ = false;
    if (!read)
        events_.add("config.refused", actor, fmt::format("configuration {}: it has mistakes", file.string()));
    if (!read)
        return tl::make_unexpected(Refusal{Why::mistakes,
                                           fmt::format("{} is refused, nothing has changed", file.string()),
                                           read.error(),
                                           {}});
    Request request{std::move(read->text),       file, actor, "reload", "", {}, true,
                    {Harm::blade_with_sessions}, {}};
    if (yes) request.accepted.insert(Harm::vip_in_use);
    return apply(std::move(request));
}

Applying::Outcome<Applying::Applied> Applying::roll_back_to(uint64_t number, Request request) {
    auto text = history_.text(number);
    if (!text) return refuse(Why::unknown, text.error().message);
    request.text = std::move(*text);
    request.file = history_.revisions().at(number).file;
    request.from = "rollback";
    if (request.message.empty()) request.message = fmt::format("back to revision {}", number);
    return apply(std::move(request));
}

/// What is looked at later is compared with how it was before.
void Applying::watch(const Request& request) {
    guarded_ = request.guard;
    all_took_it_ = false;
    had_blade_ = served(host_.configuration(), host_.known_blades());
    const auto lag = host_.who_lags();
    lagged_before_ = {lag.begin(), lag.end()};
    began_ = Clock::now();
    ends_ = began_ + request.confirm.value_or(0s);
    without_blade_since_.reset();
}

/// keyraild's own file, seen as it is now, is not taken again by a restart. A roll-back does not read it.
History::Source Applying::source_of(const Request& request) const {
    const auto plain = [](const fs::path& file) { return fs::absolute(file).lexically_normal(); };
    const bool own = request.from != "rollback" && plain(request.file) == plain(own_file_);
    return own ? History::Source::own_file : History::Source::elsewhere;
}

void Applying::look() {
    if (!history_.pending()) return;
    if (Clock::now() >= ends_)
        roll_back("it was not confirmed in time", Events::kNobody);
    else if (const std::string why = guarded_ ? worse() : ""; !why.empty())
        roll_back(why, Events::kNobody);
    if (history_.pending()) timer_.after(kLook, [this] { look(); });
}

/// Why the one on trial makes things worse; "": it does not.
std::string Applying::worse() {
    std::vector<std::string> late;
    for (const std::string& who : host_.who_lags())
        if (!lagged_before_.contains(who)) late.push_back(who);
    all_took_it_ = all_took_it_ || late.empty();
    if (!all_took_it_ && Clock::now() - began_ >= kGuard)
        return fmt::format("not taken in {} s by {}", kGuard.count(), fmt::join(late, ", "));
    const std::set<std::string> now = served(host_.configuration(), host_.known_blades());
    for (const ServiceConfig& service : host_.configuration().services) {
        if (!had_blade_.contains(service.name) || now.contains(service.name)) continue;
        if (!without_blade_since_) without_blade_since_ = Clock::now();
        if (Clock::now() - *without_blade_since_ < kNoBlade) return "";
        return fmt::format("service {} has no blade any more", service.name);
    }
    without_blade_since_.reset();
    return "";
}

/// When even that fails, it is tried again as long as keyraild runs; and a restart comes up on the old one.
void Applying::roll_back(const std::string& why, const std::string& actor) {
    const uint64_t tried = history_.pending()->revision, back = history_.current();
    auto text = history_.text(back);
    auto old = text ? check_config_text(*text, history_.revisions().at(back).file)
                    : tl::make_unexpected(ConfigMistakes{text.error().message});
    const auto written = [&]() -> Result<void> {
        if (auto told = history_.roll_back(why); !told)
            spdlog::error("configuration: the roll-back is not written: {}", told.error().message);
        return {};
    };
    const auto done =
        old ? host_.put_in_force(std::move(*old), written) : fail("{}", fmt::join(old.error(), "\n"));
    if (!done) {
        spdlog::error("configuration: revision {} cannot be rolled back to {}: {}", tried, back,
                      done.error().message);
        return;
    }
    spdlog::warn("configuration: revision {} is rolled back to {}: {}", tried, back, why);
    last_apply_successful_ = actor != Events::kNobody;
    events_.add("config.rolled_back", actor, fmt::format("revision {} is in force again: {}", back, why));
}

Applying::Outcome<void> Applying::confirm(const std::string& actor) {
    if (!history_.pending()) return refuse(Why::nothing_pending, "no configuration waits for a confirmation");
    if (auto done = history_.confirm(); !done) return refuse(Why::failed, done.error().message);
    timer_.cancel();
    events_.add("config.confirmed", actor, fmt::format("revision {} is confirmed", history_.current()));
    return {};
}

Applying::Outcome<void> Applying::cancel(const std::string& actor) {
    if (!history_.pending()) return refuse(Why::nothing_pending, "no configuration waits for a confirmation");
    roll_back(fmt::format("{} cancelled it", actor), actor);
    if (history_.pending())
        return refuse(Why::failed, "the configuration before cannot be put in force; see keyraild's log");
    timer_.cancel();
    return {};
}

asio::awaitable<std::vector<std::string>> Applying::taken(std::chrono::milliseconds most) {
    asio::steady_timer pause(executor_);
    const auto end = Clock::now() + most;
    for (;;) {
        std::vector<std::string> lag = host_.who_lags();
        if (lag.empty() || Clock::now() >= end) co_return lag;
        pause.expires_after(5ms);
        co_await pause.async_wait(asio::use_awaitable);
    }
}

}  // namespace keyrail
