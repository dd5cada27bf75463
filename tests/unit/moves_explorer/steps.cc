// SPDX-License-Identifier: Apache-2.0
// Every step from a state: each is made once, in a copy of that state.
#include <fmt/format.h>

#include "tests/unit/moves_explorer/impl.h"

namespace keyrail::testing {

namespace {

std::string name_of_body(const chassis::Envelope& message) {
    return chassis::Envelope::descriptor()->FindFieldByNumber(message.body_case())->name();
}

}  // namespace

/// `what` is asked only on the way to something wrong.
template <typename What, typename Make>
void Explorer::Impl::step(const World& world, const What& what, const Make& make) {
    if (!report.wrong.empty()) return;
    World next(world);
    environment.enter(next);
    make(next);
    environment.leave();
    report.steps++;
    report.wrong = wrong(next);
    if (report.wrong.empty() && seen.insert(Inspect::of(next, environment.name)).second) explore(next);
    if (!report.wrong.empty()) report.path.insert(report.path.begin(), what());
}

void Explorer::Impl::message_steps(const World& world, size_t wire, bool there) {
    const auto queue_of = [=](World& in) -> Queue& {
        return there ? in.wires[wire].there : in.wires[wire].back;
    };
    const Queue& queue = there ? world.wires[wire].there : world.wires[wire].back;
    if (queue.empty()) return;
    const auto what = [&](const char* happens) {
        return [&, happens] {
            return fmt::format("{} on wire {} {} {}", name_of_body(queue.front()), wire,
                               there ? "there" : "back", happens);
        };
    };
    step(world, what("arrives"), [&](World& next) {
        const chassis::Envelope message = std::move(queue_of(next).front());
        queue_of(next).pop_front();
        deliver(next, wire, there, message);
    });
    if (world.left.losses > 0)
        step(world, what("is lost"), [&](World& next) {
            next.left.losses--;
            next.troubled = true;
            queue_of(next).pop_front();
        });
    if (world.left.repeats > 0)
        step(world, what("will be repeated"), [&](World& next) {
            next.left.repeats--;
            queue_of(next).push_back(queue_of(next).front());
        });
}

void Explorer::Impl::wire_steps(const World& world, size_t wire) {
    message_steps(world, wire, true);
    message_steps(world, wire, false);
    const auto what = [&](const char* happens) {
        return [=] { return fmt::format("wire {} {}", wire, happens); };
    };
    const bool reached = wire < 2 ? !world.cut[wire] : !world.cut[0] && !world.cut[1];
    if (!world.wires[wire].open && reached)
        step(world, what("connects"), [&](World& next) { connect(next, wire); });
    else if (world.wires[wire].open && world.left.breaks > 0)
        step(world, what("breaks"), [&](World& next) {
            next.left.breaks--;
            next.troubled = true;
            break_wire(next, wire);
        });
}

void Explorer::Impl::agent_steps(const World& world, size_t i) {
    const auto what = [i](const char* happens) {
        return [=] { return fmt::format("{} {}", happens, i + 1); };
    };
    if (world.movers[i]->under_way() > 0)
        step(world, what("no longer waits: agent"), [&](World& next) {
            next.troubled = true;
            next.movers[i]->poll(kMuchLater);
        });
    if (world.receivers[i]->waiting() > 0)
        step(world, what("no longer waits for an announcement: agent"), [&](World& next) {
            next.troubled = true;
            next.receivers[i]->poll(kMuchLater);
        });
    if (world.announcing[i])
        step(world, what("announces what moved in: agent"), [&](World& next) { announce(next, i); });
    const bool news = !world.unread[i].empty() || Inspect::has_more(*world.checkpointers[i]);
    if (environment.repository && world.wires[i].open && !world.announcing[i] && news)
        step(world, what("tells of its sessions: agent"), [&](World& next) { tell(next, i); });
    if (world.left.crashes > 0)
        step(world, what("dies: agent"), [&](World& next) {
            next.left.crashes--;
            next.troubled = true;
            crash_agent(next, i);
        });
    if (world.left.resumes > 0)
        step(world, what("the client is at blade"), [&](World& next) {
            next.left.resumes--;
            SessionRecord record;
            next.used +=
                environment.stores[i]->resume(environment.name, TlsVersion::tls13, wall_clock_ms(), record);
        });
    if (world.left.pulls > 0 && !world.holds[i] && world.wires[i].open)
        step(world, what("a server misses it at blade"), [&](World& next) {
            next.left.pulls--;
            chassis::Envelope& message = next.wires[i].back.emplace_back();
            message.set_request(kFirstPull + next.pulled++);
            message.mutable_pull()->set_name(bytes_of(environment.name));
            message.mutable_pull()->set_service("www");
        });
    if (world.cut[i])
        step(world, what("can be reached again: blade"), [&](World& next) { next.cut[i] = false; });
    else if (world.left.cuts > 0)
        step(world, what("cannot be reached any more: blade"), [&](World& next) {
            next.left.cuts--;
            next.troubled = true;
            cut_off(next, i);
        });
}

void Explorer::Impl::other_steps(const World& world) {
    const auto what = [](const char* happens) { return [=] { return std::string(happens); }; };
    if (world.asked < moves)
        step(world, what("the dataplane asks"), [&](World& next) {
            const bool back = world.asked % 2 != 0;
            link::MoveRequest request;
            request.set_move_id(++next.asked);
            request.set_name(bytes_of(environment.name));
            request.set_from(back ? 2 : 1);
            request.set_to(back ? 1 : 2);
            request.set_service("www");
            request.set_budget_us(20'000);
            next.moves->request(request, kNow);
        });
    if (!world.tasks.empty())
        step(world, what("the repository does what it was asked"),
             [&](World&) { environment.repository_step(); });
    if (world.left.purges > 0)
        step(world, what("the operator purges"), [&](World& next) {
            next.left.purges--;
            purge(next);
        });
    if (world.moves->orders().under_way() > 0)
        step(world, what("keyraild waits no longer"), [&](World& next) {
            next.troubled = true;
            next.moves->tick(kMuchLater);
        });
    if (world.left.restarts > 0)
        step(world, what("keyraild dies"), [&](World& next) {
            next.left.restarts--;
            next.troubled = true;
            crash_keyraild(next);
        });
}

void Explorer::Impl::explore(const World& world) {
    for (size_t wire = 0; wire < world.wires.size(); wire++) wire_steps(world, wire);
    for (size_t i = 0; i < 2; i++) agent_steps(world, i);
    other_steps(world);
}

}  // namespace keyrail::testing
