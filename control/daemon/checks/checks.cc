// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/checks/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <random>
#include <set>

#include "control/protocol/words.h"
#include "dataplane/common/check_mark.h"

namespace keyrail {

using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;
using Kind = CheckAnswer::Kind;
using Health = CheckVerdict::Health;

namespace {

constexpr std::chrono::milliseconds kNotNow{250};  // while nothing can be checked
constexpr std::chrono::seconds kWarmUp{1};         // how often shares are looked at

/// The check of the service's own pool, or of the first route's whose pool the blade is in.
std::string pool_for(const Config& config, const ServiceConfig& service, BladeId blade) {
    const auto checked = [&](const auto& owner) {
        return config.checks.contains(owner.pool) && std::ranges::binary_search(owner.blades, blade);
    };
    if (checked(service)) return service.pool;
    const auto route = std::ranges::find_if(service.routes, checked);
    return route == service.routes.end() ? "" : route->pool;
}

/// What clients would name: the check's own word, else a route's to this pool.
std::string sni_for(const CheckConfig& check, const ServiceConfig& service, const std::string& pool) {
    if (!check.sni.empty()) return check.sni;
    for (const RouteConfig& route : service.routes)
        if (route.pool == pool && !route.sni.starts_with('*')) return route.sni;
    return "";
}

bool same(const Probe& a, const Probe& b) {
    return a.check == b.check && a.to == b.to && a.mark == b.mark && a.sni == b.sni;
}

std::string name_of(const Checks::Key& key) {
    return fmt::format("blade {}, service '{}' at {}", std::get<BladeId>(key), std::get<std::string>(key),
                       std::get<HostPort>(key).text());
}

}  // namespace

void CheckDurations::add(microseconds took) {
    count++;
    sum += took;
    for (size_t i = 0; i < kBoundsMs.size(); i++)
        if (took <= std::chrono::milliseconds(kBoundsMs[i])) within[i]++;
}

struct Checks::Impl : std::enable_shared_from_this<Checks::Impl> {
    Impl(asio::any_io_executor executor_in, CheckHost host_in)
        : executor(std::move(executor_in)), host(std::move(host_in)) {}

    asio::any_io_executor executor;
    CheckHost host;
    Targets targets;
    std::map<std::pair<BladeId, std::string>, CheckVerdict> verdicts;
    std::set<IpAddress> from;
    uint64_t epoch = 0;
    bool stopped = false;
    std::minstd_rand random{std::random_device{}()};

    void configure(const Config& config, const Prepared& clients);
    void add(Key key, Probe probe, Targets& next);
    void end(CheckTarget& target);
    [[nodiscard]] double chance() { return std::uniform_real_distribution<double>(0, 1)(random); }
    asio::awaitable<void> watch(std::shared_ptr<Impl> self, Key key, std::shared_ptr<CheckTarget> target);
    asio::awaitable<CheckAnswer> check(std::shared_ptr<Impl> self, Key key,
                                       std::shared_ptr<CheckTarget> target);
    void take(const Key& key, CheckTarget& target, const CheckAnswer& answer);
    void say(const Key& key, const CheckTarget& target);
    void tell(BladeId blade, const std::string& service);
    asio::awaitable<void> warm_up(std::shared_ptr<Impl> self);
};

// --- what is checked ---

void Checks::Impl::add(Key key, Probe probe, Targets& next) {
    const auto known = targets.find(key);
    if (known != targets.end() && same(known->second->probe, probe)) {
        known->second->probe.tls = std::move(probe.tls);  // its files may be others
        next.emplace(std::move(key), known->second);
        return;
    }
    const auto target = std::make_shared<CheckTarget>();
    target->probe = std::move(probe);
    target->timer = std::make_shared<asio::steady_timer>(executor);
    next.emplace(key, target);
    asio::co_spawn(executor, watch(shared_from_this(), std::move(key), target), asio::detached);
}

void Checks::Impl::end(CheckTarget& target) {
    target.ended = true;
    target.timer->cancel();
}

void Checks::Impl::configure(const Config& config, const Prepared& clients) {
    Targets next;
    for (const ServiceConfig& service : config.services)
        for (const BladeId blade : service.members()) {
            const std::string pool = pool_for(config, service, blade);
            if (pool.empty()) continue;
            const CheckConfig& how = config.checks.at(pool);
            const auto tls = clients.find(pool);
            for (const IpAddress& vip : service.addresses) {
                const bool by_vip = how.via == CheckVia::vip;
                const HostPort to{by_vip ? vip : config.blades.at(blade).address, service.port};
                add({blade, service.name, {vip, service.port}},
                    {how, tls == clients.end() ? nullptr : tls->second, to, by_vip ? check_mark(blade) : 0,
                     sni_for(how, service, pool)},
                    next);
                if (!by_vip) break;  // the same for all of them
            }
        }
    targets.swap(next);
    std::set<std::pair<BladeId, std::string>> checked;
    for (const auto& [key, target] : targets)
        checked.emplace(std::get<BladeId>(key), std::get<std::string>(key));
    for (const auto& [key, target] : next) {
        const auto now = targets.find(key);
        if (now == targets.end() || now->second != target) end(*target);
    }
    std::vector<std::pair<BladeId, std::string>> unchecked;
    for (const auto& [what, verdict] : verdicts)
        if (!checked.contains(what)) unchecked.push_back(what);
    for (const auto& what : unchecked) {
        verdicts.erase(what);
        host.verdict(what.first, what.second, std::nullopt);
    }
    for (const auto& [blade, service] : checked) tell(blade, service);
}

// --- one check after the other ---

asio::awaitable<void> Checks::Impl::watch(std::shared_ptr<Impl> self, Key key,
                                          std::shared_ptr<CheckTarget> target) {
    asio::error_code ignored;
    // They do not all begin at once.
    microseconds wait{static_cast<int64_t>(static_cast<double>(target->probe.check.fast.count()) * chance())};
    while (!stopped && !target->ended) {
        target->timer->expires_after(wait);
        co_await target->timer->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        if (stopped || target->ended) co_return;
        wait = kNotNow;
        if (target->under_way || !host.reachable() || host.paused(std::get<BladeId>(key))) continue;
        co_await check(self, key, target);
        wait = target->state.wait(target->probe.check, chance());
    }
}

/// Every second one resumes: so both are proven, and a certificate that was exchanged is seen. After one that
/// failed all is made anew.
asio::awaitable<CheckAnswer> Checks::Impl::check([[maybe_unused]] std::shared_ptr<Impl> self, Key key,
                                                 std::shared_ptr<CheckTarget> target) {
    const uint64_t begun = epoch;
    TlsSessionPtr session = std::move(target->session);
    if (Clock::now() - target->session_from > kOffered || !target->probe.check.resume) session.reset();
    target->under_way = true;
    ProbeResult result = co_await run_probe(executor, target->probe, std::move(session));
    target->under_way = false;
    if (stopped || target->ended || begun != epoch) {
        result.answer.kind = Kind::ours;
        co_return result.answer;
    }
    if (result.answer.kind == Kind::good && !result.answer.offered && result.session) {
        target->session = std::move(result.session);
        target->session_from = Clock::now();
    }
    if (result.from.family != 0 && from.size() < 64 && from.insert(result.from).second)
        host.from(result.from);
    take(key, *target, result.answer);
    co_return result.answer;
}

void Checks::Impl::take(const Key& key, CheckTarget& target, const CheckAnswer& answer) {
    target.trouble = answer.kind == Kind::ours ? answer.text : "";
    if (answer.kind == Kind::ours) return;
    target.last = answer;
    target.at = std::chrono::system_clock::now();
    target.durations.add(answer.took);
    if (answer.kind == Kind::good)
        target.good++;
    else
        target.bad[answer.why]++;
    target.offered += answer.offered ? 1 : 0;
    target.resumed += answer.resumed ? 1 : 0;
    if (answer.offered) target.not_resumed = answer.resumed ? 0 : target.not_resumed + 1;
    if (answer.alive) host.alive(std::get<BladeId>(key));
    const bool first = target.state.health() == Health::unknown;
    if (!target.state.take(answer, target.probe.check, Clock::now())) return;
    if (!first || target.state.health() == Health::down) say(key, target);
    tell(std::get<BladeId>(key), std::get<std::string>(key));
}

void Checks::Impl::say(const Key& key, const CheckTarget& target) {
    const std::string name = name_of(key);
    if (target.state.health() == Health::up) return host.event("check.passed", name + " is well again");
    host.event("check.failed", fmt::format("{}: {}", name, target.last.text));
    if (target.state.flaps() > 1)
        host.event("blade.flapping",
                   fmt::format("{} is out for the {}. time: it stays out for {} at least", name,
                               target.state.flaps(), duration_text(target.state.hold())));
}

// --- what follows from all of its addresses ---

void Checks::Impl::tell(BladeId blade, const std::string& service) {
    CheckVerdict verdict;
    const auto now = Clock::now();
    for (auto at = targets.lower_bound({blade, service, {}});
         at != targets.end() && std::get<BladeId>(at->first) == blade &&
         std::get<std::string>(at->first) == service;
         ++at) {
        const CheckTarget& target = *at->second;
        verdict.share = std::min(verdict.share, target.state.share(target.probe.check, now));
        if (verdict.health == Health::down) continue;
        if (target.state.health() == Health::down)
            verdict.text =
                fmt::format("check of {}: {}", std::get<HostPort>(at->first).text(), target.last.text);
        if (target.state.health() != Health::unknown) verdict.health = target.state.health();
    }
    if (verdict.health != Health::up) verdict.share = 100;
    const auto [known, fresh] = verdicts.try_emplace({blade, service}, verdict);
    if (!fresh && known->second == verdict) return;
    known->second = verdict;
    host.verdict(blade, service, verdict);
}

/// Who is back gets its share little by little.
asio::awaitable<void> Checks::Impl::warm_up([[maybe_unused]] std::shared_ptr<Impl> self) {
    asio::steady_timer timer(executor);
    asio::error_code ignored;
    while (!stopped) {
        timer.expires_after(kWarmUp);
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        if (stopped) co_return;
        std::vector<std::pair<BladeId, std::string>> warming;
        for (const auto& [what, verdict] : verdicts)
            if (verdict.share < 100) warming.push_back(what);
        for (const auto& [blade, service] : warming) tell(blade, service);
    }
}

// --- public ---

Checks::Checks(asio::any_io_executor executor, CheckHost host)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(host))) {
    asio::co_spawn(impl_->executor, impl_->warm_up(impl_), asio::detached);
}

Checks::~Checks() { stop(); }

void Checks::stop() {
    impl_->stopped = true;
    for (const auto& [key, target] : impl_->targets) impl_->end(*target);
    impl_->targets.clear();
}

Result<Checks::Prepared> Checks::prepare(const Config& next) {
    Prepared clients;
    for (const auto& [pool, check] : next.checks) {
        if (check.type == CheckType::tcp) continue;
        auto client = make_tls_client(check);
        if (!client) return fail("the check of pool '{}': {}", pool, client.error().message);
        clients.emplace(pool, std::move(*client));
    }
    return clients;
}

void Checks::commit(const Config& config, Prepared prepared) { impl_->configure(config, prepared); }

void Checks::forget_under_way() { impl_->epoch++; }

const Checks::Targets& Checks::all() const { return impl_->targets; }

asio::awaitable<Checks::Answers> Checks::run(BladeId blade) {
    const auto self = impl_;
    std::vector<std::pair<Key, std::shared_ptr<CheckTarget>>> wanted;
    for (const auto& [key, target] : self->targets)
        if (std::get<BladeId>(key) == blade) wanted.emplace_back(key, target);
    Answers answers;
    for (const auto& [key, target] : wanted) {
        CheckAnswer answer = co_await self->check(self, key, target);
        answers.emplace_back(key, std::move(answer));
    }
    co_return answers;
}

std::vector<std::string> Checks::remarks(BladeId blade) const {
    std::vector<std::string> all;
    const auto now = Clock::now();
    for (const auto& [key, target] : impl_->targets) {
        if (std::get<BladeId>(key) != blade) continue;
        const CheckConfig& check = target->probe.check;
        const std::string at = fmt::format("check of {}", std::get<HostPort>(key).text());
        if (!target->trouble.empty())
            all.push_back(fmt::format("{} cannot be made: {}", at, target->trouble));
        if (const auto held = target->state.held(check, now))
            all.push_back(fmt::format("{} is good again; it was out {} times, so it stays out for {} s more",
                                      at, target->state.flaps(), (held->count() + 999) / 1000));
        if (target->not_resumed >= check.fall)
            all.push_back(fmt::format("{}: the server does not resume its own sessions", at));
        const auto& ends = target->last.certificate_ends;
        if (ends && *ends - std::chrono::system_clock::now() < check.warn_expiry)
            all.push_back(fmt::format(
                "{}: the certificate ends in {} days", at,
                std::chrono::duration_cast<std::chrono::hours>(*ends - std::chrono::system_clock::now())
                        .count() /
                    24));
    }
    return all;
}

}  // namespace keyrail
