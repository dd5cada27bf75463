// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/core/state_watch.h"

#include <fmt/ranges.h>

#include <utility>

namespace keyrail {

namespace {

std::string name_of(const Blade& blade) {
    return fmt::format("blade {} ({})", blade.config.id, blade.config.name);
}

bool takes_clients(BladeIntake intake) {
    return intake == BladeIntake::open || intake == BladeIntake::draining;
}

}  // namespace

void StateWatch::look_at(const Blade& blade) {
    const BladeId id = blade.config.id;
    const BladeIntake now = blade.intake();
    const auto [entry, fresh] = blades_.try_emplace(id, Known{now, blade.gone, false, false});
    if (fresh) return;
    const BladeIntake before = std::exchange(entry->second.intake, now);
    const auto tell = [&](std::string_view kind, const std::string& what) {
        events_.add(kind, Events::kNobody, fmt::format("{} {}", name_of(blade), what), {id});
    };
    if (now != before && now == BladeIntake::none)
        tell("blade.down", "takes no new clients: " + blade.why_none());
    if (now != before && now == BladeIntake::overloaded)
        tell("blade.overloaded",
             fmt::format("is above its load_limit of {}%: it gets no new clients", blade.config.load_limit));
    if (now != before && takes_clients(now) && !takes_clients(before)) tell("blade.up", "takes clients");
    if (std::exchange(entry->second.gone, blade.gone) != blade.gone && blade.gone)
        tell("blade.gone", "does not answer at all: its flows are bound anew");
}

void StateWatch::look_at(const Blade& blade, const DrainProgress* progress, Clock::time_point now) {
    Known& known = blades_[blade.config.id];
    const bool empty = progress != nullptr && progress->empty;
    const std::string why = progress != nullptr ? progress->stuck(now) : "";
    const auto tell = [&](std::string_view kind, const std::string& what) {
        events_.add(kind, Events::kNobody, fmt::format("{} {}", name_of(blade), what), {blade.config.id});
    };
    if (!std::exchange(known.emptied, empty) && empty)
        tell("blade.drain.done", fmt::format("is empty: {} sessions were moved", progress->moved));
    if (!std::exchange(known.stuck, !why.empty()) && !why.empty())
        tell("blade.drain.stuck", "cannot be emptied: " + why);
}

void StateWatch::look_at_services(const Config& config, const Blades& blades) {
    std::map<Part, bool> now;
    const auto look = [&](const Part& part, const std::vector<BladeId>& pool, uint16_t port) {
        const bool served = blades.serving(pool, port) > 0;
        now.emplace(part, served);
        const auto before = served_.find(part);
        if (before == served_.end() || before->second == served) return;
        const auto& [service, sni, alpn] = part;
        const std::string where =
            sni.empty() ? "" : fmt::format(", route {}{}{}", sni, alpn.empty() ? "" : " ", alpn);
        events_.add(served ? "service.blade_again" : "service.no_blade", Events::kNobody,
                    fmt::format("service {}{} has {}", service, where,
                                served ? "a blade again" : "no blade that takes clients"),
                    {0, service});
    };
    for (const ServiceConfig& service : config.services) {
        look({service.name, "", ""}, service.blades, service.port);
        for (const RouteConfig& route : service.routes)
            look({service.name, route.sni, route.alpn}, route.blades, service.port);
    }
    served_ = std::move(now);
}

void StateWatch::repository(const std::string& kind, bool up, const std::string& problem) {
    const auto [entry, fresh] = repositories_.try_emplace(kind, up);
    if (fresh || std::exchange(entry->second, up) == up) return;
    events_.add(up ? "repository.up" : "repository.down", Events::kNobody,
                up ? fmt::format("repository {} answers again", kind)
                   : fmt::format("repository {} does not answer: {}", kind, problem),
                {0, kind});
}

void StateWatch::keys(const std::vector<std::string>& waits_for, Clock::time_point now) {
    if (waits_for.empty() || keys_wait_since_ == Clock::time_point{}) {
        keys_wait_since_ = waits_for.empty() ? Clock::time_point{} : now;
        return;
    }
    if (now - keys_wait_since_ < kKeysPatience) return;
    keys_wait_since_ = now;
    events_.add("key.stuck", Events::kNobody,
                fmt::format("new keys are not used yet: they wait for {}", fmt::join(waits_for, ", ")));
}

}  // namespace keyrail
