// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/moves_explorer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <memory>
#include <unordered_set>

#include "chassis.pb.h"
#include "control/daemon/config/config.h"
#include "link.pb.h"
#include "tests/support/session_names.h"

namespace keyrail::testing {

namespace {

constexpr Mover::Time kNow{}, kMuchLater{std::chrono::hours(1)};
constexpr NameKeys::Key kKey = {1, 2, 3};
constexpr uint64_t kOrdersPerEra = 1000;

uint16_t id_of(size_t index) { return static_cast<uint16_t>(index + 1); }
size_t index_of(uint16_t blade) { return blade - 1u; }
std::string name_of_body(const chassis::Envelope& message) {
    return chassis::Envelope::descriptor()->FindFieldByNumber(message.body_case())->name();
}

ConfigPtr config_of_two() {
    Config config;
    for (const uint16_t blade : {uint16_t{1}, uint16_t{2}}) config.blades[blade].id = blade;
    auto& service = config.services.emplace_back();
    service.name = "www";
    service.port = 443;
    service.blades = {1, 2};
    return std::make_shared<const Config>(std::move(config));
}

}  // namespace

/// What the state machines talk to: it acts on the world that is being stepped. The stores are real; what is
/// in them is put there before each step, and noted after it.
class Environment : public MoveHost {
  public:
    explicit Environment(Mistake mistake_in) : mistake(mistake_in) {
        names.set(0, kKey);
        served.add("www", 443);
        fill(record, 1, 100);
        record.name = name;
        record.port = 443;
        record.service = service_id("www");
        record.early_data_spent = false;
        record.digest = {};
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3'600'000;
    }

    // --- keyraild's ---
    [[nodiscard]] std::optional<uint16_t> home(const SessionName& of) const override {
        return names.home(of);
    }
    [[nodiscard]] bool connected(uint16_t blade) const override { return now->wires[index_of(blade)].open; }
    Result<void> send(uint16_t blade, chassis::Envelope message) override {
        if (!connected(blade)) return fail("not connected");
        now->wires[index_of(blade)].there.push_back(std::move(message));
        return {};
    }
    void send(link::ToDataplane message) override {
        if (message.has_move_outcome()) now->answers[message.move_outcome().move_id()]++;
    }
    void drained(uint16_t, MoveResult) override {}
    [[nodiscard]] const LatestState* latest(const SessionName&) const override { return nullptr; }
    [[nodiscard]] bool dead(uint16_t) const override { return false; }
    [[nodiscard]] bool keeps(const std::string&) const override { return false; }
    bool restore(const MoveOrder&) override { return false; }

    // --- an agent's ---
    struct Agent : MoverHost {
        Environment* environment = nullptr;
        size_t self = 0;
        [[nodiscard]] bool connected(uint16_t) const override {
            return environment->now->wires[2 + self].open;
        }
        Result<void> send(uint16_t, chassis::Envelope message) override {
            environment->now->wires[2 + self].there.push_back(std::move(message));
            return {};
        }
        void report(chassis::MoveDone done) override { environment->report(self, std::move(done)); }
        uint64_t transfer_number() override { return ++environment->now->transfers; }
    };
    void report(size_t self, chassis::MoveDone done) const {
        if (!now->wires[self].open) return;
        now->wires[self].back.emplace_back();
        *now->wires[self].back.back().mutable_move_done() = std::move(done);
    }
    void start_agent(World& world, size_t self) {
        world.movers[self].emplace(*stores[self], served, agents[self]);
        start_receiver(world, self);
    }
    void start_receiver(World& world, size_t self) {
        auto& receiver = world.receivers[self];
        receiver.emplace(
            *stores[self], served, id_of(self), names,
            [this, self](const SessionName&, chassis::MoveDone done) { report(self, std::move(done)); });
        receiver->configure({id_of(1 - self)});
    }
    void start_keyraild(World& world) { world.moves.emplace(config, *this, world.era++ * kOrdersPerEra); }

    void enter(World& world) {
        now = &world;
        for (size_t i = 0; i < 2; i++) {
            if (stores[i]->contains(name) == world.holds[i]) continue;
            record.moved_in = i != 0;
            if (world.holds[i])
                (void)stores[i]->put(record);
            else
                stores[i]->erase(name);
        }
    }
    void leave() {
        for (size_t i = 0; i < 2; i++) now->holds[i] = stores[i]->contains(name);
    }

    Mistake mistake;
    World* now = nullptr;
    ConfigPtr config = config_of_two();
    NameKeys names;
    ServedServices served;
    const SessionName name = name_at(kKey, 0, 1, 7);
    SessionRecord record;
    std::array<TempStore, 2> stores{TempStore(1 << 20), TempStore(1 << 20)};
    std::array<Agent, 2> agents = {[this] {
        std::array<Agent, 2> both;
        for (size_t i = 0; i < 2; i++) {
            both[i].environment = this;
            both[i].self = i;
        }
        return both;
    }()};
};

/// Reads the state machines' state: two worlds of which the same can be said go on in the same way.
struct Inspect {
    std::string text;
    template <typename... Values>
    void add(const Values&... values) {
        (text.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
    }
    void add_mover(const Mover& mover) {
        for (const Mover::Task& task : mover.waiting_)
            add('w', task.order_id, task.to, task.era == mover.era_);
        for (const auto& [number, task] : mover.sent_)
            add('s', number, task.order_id, task.to, task.era == mover.era_);
        for (const auto& [id, outcome] : mover.orders_)
            add('o', id, outcome ? static_cast<int>(outcome->result) : -1);
    }
    /// Transfers differ by when they were sent, which changes nothing.
    void add_message(const chassis::Envelope& message) {
        if (message.has_transfer())
            add('T', message.request(), message.transfer().order_id());
        else
            message.AppendToString(&text);
    }
    void add_moves(const Moves& moves, const SessionName& name) {
        for (const auto& [id, pending] : moves.orders_.orders_) {
            add('p', id, pending.order.from, pending.order.to, static_cast<int>(pending.order.source),
                pending.told);
            for (const Waiter& waiter : pending.waiters) add(waiter.id);
        }
        const auto entry = moves.directory_.find(name, 0);
        add('d', entry ? entry->holder : 0, moves.orders_.next_id_);
    }
    /// A hash, for there are millions: that two of them collide has a chance of 1 in 10^25.
    static XXH128_hash_t of(const World& world, const SessionName& name) {
        Inspect out;
        out.add(world.holds[0], world.holds[1], world.used, world.transfers, world.era, world.asked,
                world.troubled, world.forgetful, world.left.losses, world.left.repeats, world.left.breaks,
                world.left.crashes, world.left.resumes);
        for (const auto& [move, count] : world.answers) out.add('a', move, count);
        for (size_t i = 0; i < 2; i++) {
            out.add_mover(*world.movers[i]);
            for (const auto& [key, refused] : world.receivers[i]->seen_) out.add('r', key.second, !refused);
        }
        out.add_moves(*world.moves, name);
        for (const Wire& wire : world.wires) {
            out.add('W', wire.open);
            for (const Queue* queue : {&wire.there, &wire.back}) {
                out.add('Q');
                for (const chassis::Envelope& message : *queue) out.add_message(message);
            }
        }
        return XXH3_128bits(out.text.data(), out.text.size());
    }
};

struct LowHalf {
    size_t operator()(const XXH128_hash_t& hash) const { return hash.low64; }
};
struct SameHash {
    bool operator()(const XXH128_hash_t& a, const XXH128_hash_t& b) const { return XXH128_isEqual(a, b); }
};

World::World(Environment& environment, const Troubles& troubles) : left(troubles) {
    environment.start_keyraild(*this);
    for (size_t i = 0; i < 2; i++) environment.start_agent(*this, i);
    holds[0] = true;
}

struct Explorer::Impl {
    Impl(std::vector<Wish> wishes_in, const Troubles& troubles, Mistake mistake)
        : wishes(std::move(wishes_in)), environment(mistake), start(environment, troubles) {}

    std::vector<Wish> wishes;
    Environment environment;
    World start;
    std::unordered_set<XXH128_hash_t, LowHalf, SameHash> seen;
    Report report;

    void explore(const World& world);
    template <typename What, typename Make>
    void step(const World& world, const What& what, const Make& make);
    void message_steps(const World& world, size_t wire, bool there);
    void wire_steps(const World& world, size_t wire);
    void other_steps(const World& world);

    void deliver(World& world, size_t wire, bool there, const chassis::Envelope& message);
    void to_agent(World& world, size_t self, const chassis::Envelope& message);
    void to_keyraild(World& world, size_t from, const chassis::Envelope& message);
    void to_peer(World& world, size_t from, const chassis::Envelope& message);
    void break_wire(World& world, size_t wire);
    void connect(World& world, size_t wire);
    void crash_agent(World& world, size_t self);
    void crash_keyraild(World& world);
    [[nodiscard]] std::string wrong(const World& world) const;
    [[nodiscard]] static bool quiet(const World& world);
};

// --- what a message does

void Explorer::Impl::to_agent(World& world, size_t self, const chassis::Envelope& message) {
    if (message.has_order()) world.movers[self]->order(message.order(), kNow);
}

void Explorer::Impl::to_keyraild(World& world, size_t from, const chassis::Envelope& message) {
    if (message.has_move_done()) world.moves->done(id_of(from), message.move_done(), kNow);
    if (message.has_announce()) world.moves->announce(id_of(from), message.announce());
}

/// `from`: whose connection it is. It brings transfers, and answers.
void Explorer::Impl::to_peer(World& world, size_t from, const chassis::Envelope& message) {
    if (environment.mistake == Mistake::every_transfer_is_new) {
        environment.start_receiver(world, 1 - from);
    }
    chassis::Envelope answer;
    answer.set_request(message.request());
    *answer.mutable_transfer_ack() =
        world.receivers[1 - from]->receive(id_of(from), message.request(), message.transfer());
    world.wires[2 + from].back.push_back(std::move(answer));
}

void Explorer::Impl::deliver(World& world, size_t wire, bool there, const chassis::Envelope& message) {
    if (wire < 2) return there ? to_agent(world, wire, message) : to_keyraild(world, wire, message);
    if (there) return to_peer(world, wire - 2, message);
    world.movers[wire - 2]->acknowledged(id_of(3 - wire), message.request(), message.transfer_ack(), kNow);
}

// --- what breaks, and comes back

void Explorer::Impl::break_wire(World& world, size_t wire) {
    if (!world.wires[wire].open) return;
    world.wires[wire] = {false, {}, {}};
    if (wire < 2) return world.moves->agent_lost(id_of(wire));
    const size_t holder = wire - 2;
    const bool in_doubt = world.movers[holder]->under_way() > 0;
    world.movers[holder]->lost(id_of(1 - holder));
    if (environment.mistake == Mistake::put_back_when_in_doubt && in_doubt)
        (void)environment.stores[holder]->put(environment.record);
}

/// As the agent does: the orders of the old connection are forgotten, what is not at its home is announced.
void Explorer::Impl::connect(World& world, size_t wire) {
    world.wires[wire].open = true;
    if (wire >= 2) return world.movers[wire - 2]->poll(kNow);
    world.movers[wire]->forget();
    auto& announce = *world.wires[wire].back.emplace_back().mutable_announce();
    announce.set_reset(true);
    Store::Cursor cursor;
    while (!cursor.done()) {
        for (const SessionInfo& info : environment.stores[wire]->list(cursor, Store::Which::kMovedIn, 100)) {
            auto& held = *announce.add_held();
            held.set_name(bytes_of(info.name));
            held.set_expires_ms(info.expires_ms);
        }
    }
}

void Explorer::Impl::crash_agent(World& world, size_t self) {
    environment.start_agent(world, self);
    for (const size_t wire : {self, size_t{2}, size_t{3}}) break_wire(world, wire);
}

void Explorer::Impl::crash_keyraild(World& world) {
    for (size_t i = 0; i < 2; i++) world.wires[i] = {false, {}, {}};
    environment.start_keyraild(world);
    world.forgetful = true;
}

// --- every step from a state

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
    if (!world.wires[wire].open)
        step(world, what("connects"), [&](World& next) { connect(next, wire); });
    else if (world.left.breaks > 0)
        step(world, what("breaks"), [&](World& next) {
            next.left.breaks--;
            next.troubled = true;
            break_wire(next, wire);
        });
}

void Explorer::Impl::other_steps(const World& world) {
    const auto what = [](const char* happens, size_t blade = 0) {
        return [=] { return blade ? fmt::format("{} {}", happens, blade) : std::string(happens); };
    };
    if (world.asked < wishes.size())
        step(world, what("the dataplane asks"), [&](World& next) {
            link::MoveRequest request;
            request.set_move_id(++next.asked);
            request.set_name(bytes_of(environment.name));
            request.set_from(wishes[world.asked].from);
            request.set_to(wishes[world.asked].to);
            request.set_service("www");
            request.set_budget_us(20'000);
            next.moves->request(request, kNow);
        });
    for (size_t i = 0; i < 2; i++) {
        step(world, what("no longer waits: agent", i + 1), [&](World& next) {
            next.troubled |= next.movers[i]->under_way() > 0;
            next.movers[i]->poll(kMuchLater);
        });
        if (world.left.crashes > 0)
            step(world, what("dies: agent", i + 1), [&](World& next) {
                next.left.crashes--;
                next.troubled = true;
                crash_agent(next, i);
            });
        if (world.left.resumes > 0)
            step(world, what("the client is at blade", i + 1), [&](World& next) {
                next.left.resumes--;
                SessionRecord record;
                next.used += environment.stores[i]->resume(environment.name, 0x0304, wall_clock_ms(), record);
            });
    }
    step(world, what("keyraild waits no longer"), [&](World& next) {
        next.troubled |= next.moves->orders().under_way() > 0;
        next.moves->tick(kMuchLater);
    });
    if (world.left.crashes > 0)
        step(world, what("keyraild dies"), [&](World& next) {
            next.left.crashes--;
            next.troubled = true;
            crash_keyraild(next);
        });
}

void Explorer::Impl::explore(const World& world) {
    for (size_t wire = 0; wire < world.wires.size(); wire++) wire_steps(world, wire);
    other_steps(world);
}

// --- what must hold

bool Explorer::Impl::quiet(const World& world) {
    for (const Wire& wire : world.wires)
        if (!wire.open || !wire.there.empty() || !wire.back.empty()) return false;
    return world.movers[0]->under_way() + world.movers[1]->under_way() + world.moves->orders().under_way() ==
           0;
}

std::string Explorer::Impl::wrong(const World& world) const {
    const int holders = world.holds[0] + world.holds[1];
    if (holders > 1) return "both blades hold the session";
    if (world.used + holders > 1) return "the session was used, and can be used again";
    for (const auto& [move, count] : world.answers)
        if (count > 1) return fmt::format("move {} was answered {} times", move, count);
    if (!quiet(world)) return "";
    if (!world.forgetful && world.answers.size() != world.asked) return "a move was never answered";
    if (world.troubled) return "";
    if (holders + world.used != 1) return "the session is lost though nothing went wrong";
    if (holders == 1 && world.moves->holder(environment.name) != id_of(world.holds[0] ? 0 : 1))
        return "keyraild is wrong about where the session is";
    return "";
}

Explorer::Explorer(std::vector<Wish> wishes, const Troubles& troubles, Mistake mistake)
    : impl_(std::make_unique<Impl>(std::move(wishes), troubles, mistake)) {}
Explorer::~Explorer() = default;

Explorer::Report Explorer::run() {
    impl_->seen.insert(Inspect::of(impl_->start, impl_->environment.name));
    impl_->explore(impl_->start);
    impl_->report.states = impl_->seen.size();
    return impl_->report;
}

}  // namespace keyrail::testing
