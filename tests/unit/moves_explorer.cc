// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/moves_explorer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "chassis.pb.h"
#include "control/agent/restorer.h"
#include "control/agent/store_questions.h"
#include "control/daemon/config/config.h"
#include "link.pb.h"
#include "tests/support/blade_ids.h"
#include "tests/support/session_names.h"

namespace keyrail::testing {

namespace {

constexpr Mover::Time kNow{}, kMuchLater{std::chrono::hours(1)};
constexpr NameKeys::Key kKey = {1, 2, 3};
constexpr uint64_t kOrdersPerEra = 1000;
constexpr uint64_t kFirstPull = 100;  // its request number
constexpr uint32_t kGeneration = 1;

BladeId id_of(size_t index) { return BladeId::or_none(index + 1); }
size_t index_of(BladeId blade) { return blade - 1u; }
std::string name_of_body(const chassis::Envelope& message) {
    return chassis::Envelope::descriptor()->FindFieldByNumber(message.body_case())->name();
}

ConfigPtr config_of_two() {
    Config config;
    for (const BladeId blade : {BladeId{1}, BladeId{2}}) config.blades[blade].id = blade;
    auto& service = config.services.emplace_back();
    service.name = "www";
    service.port = 443;
    service.blades = {1, 2};
    return std::make_shared<const Config>(std::move(config));
}

class OneKey : public SealingKeys {
  public:
    [[nodiscard]] Current current(const std::string&) const override { return {kGeneration, &key_}; }
    [[nodiscard]] const SealingKey* find(const std::string&, uint32_t) const override { return &key_; }

  private:
    SealingKey key_{PoolKeyBytes()};
};

bool same(const Store::Change& a, const Store::Change& b) {
    return a.gone == b.gone && a.receipt == b.receipt;
}

}  // namespace

/// What the state machines talk to: it acts on the world that is being stepped. The stores are real; what is
/// in them is put there before each step, and noted after it.
class Environment : public MoveHost, public CheckpointHost, public SealedSessions {
  public:
    Environment(const Troubles& troubles, Mistake mistake_in)
        : mistake(mistake_in), repository(troubles.repository), in_pieces(troubles.in_pieces) {
        names.set(0, kKey);
        served.add("www", 443);
        if (repository) sealed.insert("www");
        fill(record, 1, 100);
        record.name = name;
        record.port = 443;
        record.service = ServiceId::of("www");
        record.single_use = !troubles.reusable;
        record.early_data_spent = false;
        record.digest = {};
        record.created_ms = record.authenticated_ms = wall_clock_ms();
        record.expires_ms = wall_clock_ms() + 3'600'000;
    }

    // --- keyraild's ---
    [[nodiscard]] std::optional<BladeId> home(const SessionName& of) const override { return names.home(of); }
    [[nodiscard]] std::optional<BladeId> holder(const SessionName& of) const override {
        return now->moves->holder(of);
    }
    [[nodiscard]] bool under_way(const SessionName& of) const override {
        return now->moves->orders().under_way(of);
    }
    [[nodiscard]] bool connected(BladeId blade) const override { return now->wires[index_of(blade)].open; }
    [[nodiscard]] bool dead(BladeId blade) const override { return now->cut[index_of(blade)]; }
    Result<void> send(BladeId blade, chassis::Envelope message) override {
        if (!connected(blade)) return fail("not connected");
        now->wires[index_of(blade)].there.push_back(std::move(message));
        return {};
    }
    void send(link::ToDataplane message) override {
        if (message.has_move_outcome()) now->answers[message.move_outcome().move_id()]++;
    }
    void drained(BladeId, MoveResult) override {}
    [[nodiscard]] const LatestState* latest(const SessionName& of) const override {
        return now->checkpoints->latest(of);
    }
    bool restore(const MoveOrder& order, const NotUsed& known) override {
        if (mistake != Mistake::the_dead_are_believed || known.blade != 0)
            return now->checkpoints->restore(order, known);
        return now->checkpoints->restore(order,
                                         {order.from, now->checkpointers[index_of(order.from)]->epoch()});
    }
    void restored(const MoveOrder& order) override { now->checkpoints->restored(order); }
    void not_restored(uint64_t order_id) override { now->moves->not_restored(order_id, kNow); }
    std::string receipt(const SessionName&, BladeId blade, uint64_t order) override {
        std::string made(16, '\0');
        for (size_t i = 0; i < sizeof order; i++) made[i] = static_cast<char>(order >> 8 * (7 - i));
        std::memcpy(made.data() + sizeof order, &blade, sizeof blade);
        return made;
    }
    std::optional<uint64_t> order_in(const std::string& shown, const SessionName& of,
                                     BladeId blade) override {
        uint64_t order = 0;
        for (size_t i = 0; shown.size() == 16 && i < sizeof order; i++)
            order = order << 8 | static_cast<uint8_t>(shown[i]);
        return shown == receipt(of, blade, order) ? std::optional(order) : std::nullopt;
    }
    [[nodiscard]] bool purging(BladeId blade, const SessionName& of, ServiceId) const override {
        return now->purges->purging(blade, of, {});
    }

    // --- the repository's ---
    [[nodiscard]] bool keeps(const std::string&) const override { return repository; }
    void keep(const std::string&, RepositoryChange change) override {
        now->tasks.push_back({RepositoryTask::Kind::keep, change.sealed, 0, {}});
    }
    void forget(const SessionName&, uint64_t ticket) override {
        if (!repository) return now->checkpoints->forgotten(ticket);
        now->tasks.push_back({RepositoryTask::Kind::forget, "", ticket, {}});
    }
    bool retrieve(const Retrieval& retrieval) override {
        if (repository) now->tasks.push_back({RepositoryTask::Kind::retrieve, "", 0, retrieval});
        return repository;
    }
    void repository_step() {
        const RepositoryTask task = std::move(now->tasks.front());
        now->tasks.pop_front();
        const auto before = now->kept;
        if (task.kind == RepositoryTask::Kind::keep)
            now->kept = task.sealed;
        else
            now->kept.reset();
        if (task.kind == RepositoryTask::Kind::forget) now->checkpoints->forgotten(task.ticket);
        if (task.kind == RepositoryTask::Kind::clear)
            now->purges->answered(Purges::kRepositories, task.ticket);
        if (task.kind == RepositoryTask::Kind::retrieve)
            now->checkpoints->retrieved(task.retrieval, before.value_or(""));
    }

    // --- an agent's ---
    struct Agent : MoverHost {
        Environment* environment = nullptr;
        size_t self = 0;
        [[nodiscard]] bool connected(BladeId) const override {
            return environment->now->wires[2 + self].open;
        }
        Result<void> send(BladeId, chassis::Envelope message) override {
            environment->now->wires[2 + self].there.push_back(std::move(message));
            return {};
        }
        void report(chassis::MoveDone done) override { environment->report(self, std::move(done)); }
        uint64_t transfer_number() override { return ++environment->now->transfers; }
        KnownFate fate(const SessionName& name, Mover::Time) override {
            return environment->fate(self, name);
        }
        void left(const SessionRecord& session) override {
            if (environment->mistake != Mistake::what_left_is_forgotten)
                environment->now->checkpointers[self]->left(session);
        }
        void stayed(const SessionName& name) override { environment->now->checkpointers[self]->came(name); }
    };
    void report(size_t self, chassis::MoveDone done) const {
        if (!now->wires[self].open) return;
        now->wires[self].back.emplace_back();
        *now->wires[self].back.back().mutable_move_done() = std::move(done);
    }
    KnownFate fate(size_t self, const SessionName& of) {
        Checkpointer& checkpointer = *now->checkpointers[self];
        if (!repository) return {};
        if (mistake == Mistake::what_is_not_here_is_unused) return {chassis::NOT_USED, checkpointer.epoch()};
        read_journal(*now, self);
        return checkpointer.fate(of, kNow);
    }
    ReceiverEvents receiver_events(size_t self) {
        ReceiverEvents events;
        events.stored = [this, self](const SessionName& of, chassis::MoveDone done) {
            now->checkpointers[self]->came(of);
            report(self, std::move(done));
        };
        events.answered = [this](BladeId from, uint64_t number, chassis::TransferAck ack) {
            answer(index_of(from), number, std::move(ack));
        };
        events.refused = [](uint16_t, const std::string&) {};
        return events;
    }
    /// `from`: whose connection it is.
    void answer(size_t from, uint64_t number, chassis::TransferAck ack) const {
        if (!now->wires[2 + from].open) return;
        chassis::Envelope& message = now->wires[2 + from].back.emplace_back();
        message.set_request(number);
        *message.mutable_transfer_ack() = std::move(ack);
    }
    /// The fences of a World are copied with it, and what uses them must use the copy: a reference to
    /// whichever is current.
    void start_agent(World& world, size_t self) {
        world.fences[self].emplace();
        world.purged[self].clear();
        world.checkpointers[self].emplace(*stores[self], served, sealed, keys, fences[self], id_of(self),
                                          ++world.epochs);
        world.movers[self].emplace(*stores[self], served, fences[self], agents[self]);
        world.receivers[self].emplace(*stores[self], served, fences[self], id_of(self), names,
                                      receiver_events(self));
        world.receivers[self]->configure({id_of(1 - self)});
        world.unread[self] = world.history[self];
        world.announcing[self] = false;
    }
    void start_keyraild(World& world) {
        world.moves.emplace(config, *this, world.era++ * kOrdersPerEra);
        world.checkpoints.emplace(config, *this, *this);
        world.tasks.clear();
        // Purges lie on the disk.
        if (!world.purges || mistake == Mistake::a_restart_forgets_purges) world.purges.emplace();
        world.moves->numbers_above(world.purges->last_number());
        for (const chassis::Purge& purge : world.purges->of(Purges::kRepositories))
            if (repository) world.tasks.push_back({RepositoryTask::Kind::clear, "", purge.number(), {}});
    }
    void read_journal(World& world, size_t self);

    void enter(World& world);
    void leave();

    Mistake mistake;
    bool repository, in_pieces;
    World* now = nullptr;
    ConfigPtr config = config_of_two();
    NameKeys names;
    ServedServices served;
    std::set<std::string> sealed;
    OneKey keys;
    const SessionName name = name_at(kKey, 0, 1, 7);
    SessionRecord record;
    std::array<TempStore, 2> stores{TempStore(1 << 20), TempStore(1 << 20)};
    std::array<Store::JournalCursor, 2> cursors;
    std::array<Fences, 2> fences;  // of the world that is being stepped
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
    void add_receiver(const Receiver& receiver) {
        for (const auto& [key, outcome] : receiver.seen_)
            add('r', key.second, outcome ? outcome->has_value() + 1 : 0);
        for (const auto& [id, expected] : receiver.expected_) add('e', id, expected.from);
        for (const auto& early : receiver.early_) add('y', early.key.second, early.order_id);
    }
    void add_checkpointer(const Checkpointer& checkpointer) {
        add('c', checkpointer.epoch_, checkpointer.changed_.empty(), checkpointer.walk_.finished,
            checkpointer.left_.size(), checkpointer.last_number_, checkpointer.gone_.size());
        for (const auto& [number, told] : checkpointer.told_) add('t', number, told.gone.size());
    }
    void add_checkpoints(const Checkpoints& checkpoints, const SessionName& name) {
        const auto known = checkpoints.latest_.find(name);
        add('l', known ? known->uses : 0, known ? known->gone + 1 : 0);
        for (const auto& [blade, stale] : checkpoints.stale_) add('S', blade, stale.sessions_size());
        for (const auto& [ticket, promise] : checkpoints.promises_)
            add('P', ticket, promise.blade, promise.number, promise.left);
        add(checkpoints.last_ticket_);
    }
    /// Sealed twice, the same looks different.
    void add_sealed(const std::string& sealed) {
        chassis::SessionState state;
        if (state.ParseFromString(sealed)) add('k', state.blade(), state.epoch());
    }
    /// Transfers differ by when they were sent, MoveDones by when what happened, which changes nothing.
    void add_message(const chassis::Envelope& message) {
        if (message.has_transfer()) return add('T', message.request(), message.transfer().order_id());
        if (message.has_move_done()) {
            chassis::MoveDone done = message.move_done();
            done.clear_times();
            done.AppendToString(&text);
            return;
        }
        if (message.has_restore()) return add('R', message.restore().order_id());
        if (!message.has_checkpoint()) {
            message.AppendToString(&text);
            return;
        }
        add('C', message.request());
        for (const auto& state : message.checkpoint().sessions())
            add('s', state.gone(), state.uses(), state.blade(), state.epoch());
    }
    void add_moves(const Moves& moves, const SessionName& name) {
        for (const auto& [id, pending] : moves.orders_.orders_) {
            add('p', id, pending.order.from, pending.order.to, static_cast<int>(pending.order.source),
                pending.told);
            for (const Waiter& waiter : pending.waiters) add(waiter.id);
        }
        for (const auto& fence : moves.fences_) add('f', fence.number);
        const auto entry = moves.directory_.find(name, 0);
        add('d', entry ? entry->holder : BladeId{}, entry ? entry->order : 0, moves.orders_.next_id_);
    }
    void add_troubles(const Troubles& left) {
        add(left.losses, left.repeats, left.breaks, left.crashes, left.restarts, left.resumes, left.pulls,
            left.purges, left.cuts);
    }
    void add_agent(const World& world, size_t i) {
        add('A', world.holds[i].has_value(), world.holds[i].value_or(MoveReceipt{}), world.announcing[i],
            world.cut[i]);
        for (const Store::Change& change : world.unread[i]) add('u', change.gone, change.receipt);
        if (world.left.crashes > 0)
            for (const Store::Change& change : world.history[i]) add('h', change.gone, change.receipt);
        for (const uint64_t number : world.purged[i]) add('n', number);
        for (const chassis::Purge& purge : world.purges->of(id_of(i))) add('N', purge.number());
        add_mover(*world.movers[i]);
        add_receiver(*world.receivers[i]);
        add_checkpointer(*world.checkpointers[i]);
    }
    /// A hash, for there are millions: that two of them collide has a chance of 1 in 10^25.
    static XXH128_hash_t of(const World& world, const SessionName& name) {
        Inspect out;
        out.add(world.used, world.transfers, world.era, world.epochs, world.asked, world.pulled,
                world.troubled, world.forgetful, world.purge_asked);
        out.add_troubles(world.left);
        for (const auto& [move, count] : world.answers) out.add('a', move, count);
        for (size_t i = 0; i < 2; i++) out.add_agent(world, i);
        out.add_moves(*world.moves, name);
        out.add_checkpoints(*world.checkpoints, name);
        out.add_sealed(world.kept.value_or(""));
        for (const RepositoryTask& task : world.tasks) {
            out.add('q', task.kind, task.ticket, task.retrieval.order.id, task.retrieval.known.blade,
                    task.retrieval.known.epoch);
            out.add_sealed(task.sealed);
        }
        for (const Wire& wire : world.wires) {
            out.add('W', wire.open);
            for (const Queue* queue : {&wire.there, &wire.back}) {
                out.add('Q');
                for (const chassis::Envelope& message : *queue) out.add_message(message);
            }
        }
        return XXH3_128bits(out.text.data(), out.text.size());
    }

    static Store::JournalCursor& journal(Checkpointer& checkpointer) { return checkpointer.journal_; }
    static void note(Checkpointer& checkpointer, const Store::Change& change) {
        checkpointer.note(change, kNow);
    }
    static bool has_more(const Checkpointer& checkpointer) {
        return !checkpointer.changed_.empty() || !checkpointer.gone_.empty() || !checkpointer.walk_.finished;
    }
    static void forget_told(Checkpointer& checkpointer) {
        checkpointer.told_.clear(), checkpointer.gone_names_.clear();
    }
    /// As one that knows nothing of what came, but everything that was announced.
    static void forget_transfers(Receiver& receiver) { receiver.seen_.clear(), receiver.order_.clear(); }
    static auto announced(const Receiver& receiver) { return receiver.expected_; }
    template <typename Expected>
    static void announce_again(Receiver& receiver, const Expected& expected) {
        receiver.expected_.insert(expected.begin(), expected.end());
    }
};

void Environment::read_journal(World& world, size_t self) {
    for (const Store::Change& change : std::exchange(world.unread[self], {}))
        Inspect::note(*world.checkpointers[self], change);
}

void Environment::enter(World& world) {
    now = &world;
    for (size_t i = 0; i < 2; i++) {
        fences[i] = *world.fences[i];
        const auto there = stores[i]->peek(name);
        const auto& wanted = world.holds[i];
        if (wanted && (!there || there->receipt != *wanted)) {
            record.moved_in = i != 0;
            record.receipt = *wanted;
            (void)stores[i]->put(record);
        }
        if (!wanted && there) stores[i]->erase(name);
        std::vector<Store::Change> ours;
        (void)stores[i]->changes(cursors[i], ours);
        Inspect::journal(*world.checkpointers[i]) = cursors[i];
    }
}

void Environment::leave() {
    for (size_t i = 0; i < 2; i++) {
        *now->fences[i] = fences[i];
        const auto there = stores[i]->peek(name);
        now->holds[i] = there ? std::optional(there->receipt) : std::nullopt;
        std::vector<Store::Change> all, fresh;
        (void)stores[i]->changes(cursors[i], all);
        (void)stores[i]->changes(Inspect::journal(*now->checkpointers[i]), fresh);
        if (!repository) continue;  // nobody is told
        const auto add = [](std::vector<Store::Change>& to, const std::vector<Store::Change>& more) {
            for (const Store::Change& change : more)
                if (to.empty() || !same(to.back(), change)) to.push_back(change);
        };
        add(now->unread[i], fresh);
        add(now->history[i], all);
    }
}

struct LowHalf {
    size_t operator()(const XXH128_hash_t& hash) const { return hash.low64; }
};
struct SameHash {
    bool operator()(const XXH128_hash_t& a, const XXH128_hash_t& b) const { return XXH128_isEqual(a, b); }
};

/// With a repository: keyraild has heard of the session and keeps it.
World::World(Environment& environment, const Troubles& troubles) : left(troubles) {
    environment.start_keyraild(*this);
    for (size_t i = 0; i < 2; i++) environment.start_agent(*this, i);
    holds[0].emplace();
    if (!troubles.repository) return;
    history[0] = {Store::Change{environment.name, false, {}}};
    environment.enter(*this);
    checkpointers[0]->start_over();
    chassis::Checkpoint told;
    uint64_t number = 0;
    if (checkpointers[0]->next(told, number, kMuchLater)) checkpoints->checkpoint(1, told, number);
    environment.repository_step();
    environment.leave();
    unread = {};
}

struct Explorer::Impl {
    Impl(const Troubles& troubles, Mistake mistake)
        : moves(troubles.moves), environment(troubles, mistake), start(environment, troubles) {}

    size_t moves;
    Environment environment;
    World start;
    std::unordered_set<XXH128_hash_t, LowHalf, SameHash> seen;
    Report report;

    void explore(const World& world);
    template <typename What, typename Make>
    void step(const World& world, const What& what, const Make& make);
    void message_steps(const World& world, size_t wire, bool there);
    void wire_steps(const World& world, size_t wire);
    void agent_steps(const World& world, size_t i);
    void other_steps(const World& world);

    void deliver(World& world, size_t wire, bool there, const chassis::Envelope& message);
    void to_agent(World& world, size_t self, const chassis::Envelope& message);
    void to_keyraild(World& world, size_t from, const chassis::Envelope& message);
    void to_peer(World& world, size_t from, const chassis::Envelope& message);
    void break_wire(World& world, size_t wire);
    void connect(World& world, size_t wire);
    void announce(World& world, size_t self);
    void tell(World& world, size_t self);
    void purge(World& world);
    void crash_agent(World& world, size_t self);
    void crash_keyraild(World& world);
    void cut_off(World& world, size_t self);
    [[nodiscard]] std::string wrong(const World& world) const;
    [[nodiscard]] std::string wrong_at_rest(const World& world) const;
    [[nodiscard]] static bool quiet(const World& world);
};

// --- what a message does

void Explorer::Impl::to_agent(World& world, size_t self, const chassis::Envelope& message) {
    Checkpointer& checkpointer = *world.checkpointers[self];
    Store& store = *environment.stores[self];
    if (message.has_order()) world.movers[self]->order(message.order(), kNow);
    if (message.has_expect()) world.receivers[self]->expect(message.expect(), kNow);
    if (message.has_stale()) (void)checkpointer.destroy(message.stale());
    if (message.has_checkpoint_ack()) checkpointer.acknowledged(message.request());
    if (message.has_pull_reply()) world.answers[message.request()]++;
    if (message.has_restore()) {
        Restorer restorer(store, checkpointer, environment.names, environment.fences[self], id_of(self));
        environment.report(self, restorer.restore(message.restore()));
    }
    if (!message.has_purge()) return;
    Fences none;
    const bool fenced = environment.mistake != Mistake::a_purge_has_no_fence;
    world.wires[self].back.push_back(
        answer_question(store, environment.served, fenced ? environment.fences[self] : none, message));
    world.purged[self].push_back(message.purge().number());
}

void Explorer::Impl::to_keyraild(World& world, size_t from, const chassis::Envelope& message) {
    if (message.has_move_done()) world.moves->done(id_of(from), message.move_done(), kNow);
    if (message.has_announce()) world.moves->announce(id_of(from), message.announce());
    if (message.has_checkpoint())
        world.checkpoints->checkpoint(id_of(from), message.checkpoint(), message.request());
    if (message.has_pull()) world.moves->pull(id_of(from), message.request(), message.pull(), kNow);
    if (message.has_purge_reply()) world.purges->answered(id_of(from), message.request());
}

/// `from`: whose connection it is. It brings transfers, and answers.
void Explorer::Impl::to_peer(World& world, size_t from, const chassis::Envelope& message) {
    Receiver& receiver = *world.receivers[1 - from];
    const bool mistaken = environment.mistake == Mistake::every_transfer_is_new;
    const auto announced = Inspect::announced(receiver);
    if (mistaken) Inspect::forget_transfers(receiver);
    if (auto ack = receiver.receive(id_of(from), message.request(), message.transfer(), kNow))
        environment.answer(from, message.request(), std::move(*ack));
    if (mistaken) Inspect::announce_again(receiver, announced);
}

void Explorer::Impl::deliver(World& world, size_t wire, bool there, const chassis::Envelope& message) {
    if (wire < 2) return there ? to_agent(world, wire, message) : to_keyraild(world, wire, message);
    if (there) return to_peer(world, wire - 2, message);
    world.movers[wire - 2]->acknowledged(id_of(3 - wire), message.request(), message.transfer_ack(), kNow);
}

// --- what an agent, or the operator, does

/// The first word on a new connection was said by connect().
void Explorer::Impl::announce(World& world, size_t self) {
    world.announcing[self] = false;
    auto& announce = *world.wires[self].back.emplace_back().mutable_announce();
    announce.set_done(true);
    Store::Cursor cursor;
    while (!cursor.done()) {
        for (const SessionInfo& info : environment.stores[self]->list(cursor, Store::Which::kMovedIn, 100)) {
            auto& held = *announce.add_held();
            held.set_name(bytes_of(info.name));
            held.set_expires_ms(info.expires_ms);
            held.set_receipt(info.receipt.data(), info.receipt.size());
        }
    }
    if (!environment.repository) return;
    if (environment.mistake == Mistake::gone_is_told_once) Inspect::forget_told(*world.checkpointers[self]);
    world.checkpointers[self]->start_over();
}

void Explorer::Impl::tell(World& world, size_t self) {
    environment.read_journal(world, self);
    chassis::Envelope message;
    uint64_t number = 0;
    if (!world.checkpointers[self]->next(*message.mutable_checkpoint(), number, kMuchLater)) return;
    message.set_request(number);
    world.wires[self].back.push_back(std::move(message));
}

void Explorer::Impl::purge(World& world) {
    chassis::Purge message;
    message.set_all(true);
    message.set_number(world.moves->purge(Purged{}, kNow));
    (void)world.purges->add(message, 0);
    world.purge_asked = true;
    if (environment.repository && environment.mistake != Mistake::a_purge_spares_the_repository)
        world.tasks.push_back({RepositoryTask::Kind::clear, "", message.number(), {}});
    else
        world.purges->answered(Purges::kRepositories, message.number());
    for (const BladeId blade : testing::blade_ids(2)) {
        chassis::Envelope envelope;
        envelope.set_request(message.number());
        *envelope.mutable_purge() = message;
        (void)environment.send(blade, std::move(envelope));
    }
}

// --- what breaks, and comes back

void Explorer::Impl::break_wire(World& world, size_t wire) {
    if (!world.wires[wire].open) return;
    world.wires[wire] = {false, {}, {}};
    if (wire < 2) {
        world.announcing[wire] = false;
        world.moves->agent_lost(id_of(wire));
        return world.checkpoints->agent_lost(id_of(wire));
    }
    const size_t holder = wire - 2;
    const bool in_doubt = world.movers[holder]->under_way() > 0;
    world.movers[holder]->lost(id_of(1 - holder));
    if (environment.mistake == Mistake::put_back_when_in_doubt && in_doubt) {
        environment.record.receipt = {};
        (void)environment.stores[holder]->put(environment.record);
    }
}

/// As the agent does: the orders of the old connection are forgotten, what is not at its home is announced,
/// in several messages. And keyraild: what was purged meanwhile is said.
void Explorer::Impl::connect(World& world, size_t wire) {
    world.wires[wire].open = true;
    if (wire >= 2) return world.movers[wire - 2]->poll(kNow);
    world.movers[wire]->forget();
    world.wires[wire].back.emplace_back().mutable_announce()->set_reset(true);
    world.announcing[wire] = true;
    if (!environment.in_pieces) announce(world, wire);
    for (const chassis::Purge& purge : world.purges->of(id_of(wire))) {
        auto& message = world.wires[wire].there.emplace_back();
        message.set_request(purge.number());
        *message.mutable_purge() = purge;
    }
}

void Explorer::Impl::crash_agent(World& world, size_t self) {
    environment.start_agent(world, self);
    environment.fences[self] = {};
    Inspect::journal(*world.checkpointers[self]) = environment.cursors[self];
    for (const size_t wire : {self, size_t{2}, size_t{3}}) break_wire(world, wire);
}

void Explorer::Impl::crash_keyraild(World& world) {
    for (size_t i = 0; i < 2; i++) {
        world.wires[i] = {false, {}, {}};
        world.announcing[i] = false;
    }
    environment.start_keyraild(world);
    world.forgetful = true;
}

void Explorer::Impl::cut_off(World& world, size_t self) {
    world.cut[self] = true;
    for (const size_t wire : {self, size_t{2}, size_t{3}}) break_wire(world, wire);
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

// --- what must hold

bool Explorer::Impl::quiet(const World& world) {
    for (const Wire& wire : world.wires)
        if (!wire.open || !wire.there.empty() || !wire.back.empty()) return false;
    for (size_t i = 0; i < 2; i++)
        if (world.announcing[i] || world.movers[i]->under_way() > 0 || world.receivers[i]->waiting() > 0 ||
            !world.unread[i].empty() || Inspect::has_more(*world.checkpointers[i]))
            return false;
    return world.tasks.empty() && world.moves->orders().under_way() == 0;
}

std::string Explorer::Impl::wrong(const World& world) const {
    const int holders = world.holds[0].has_value() + world.holds[1].has_value();
    const bool single = environment.record.single_use;
    // A reusable one is restored when its blade is dead for keyraild; when that is back, both have it a
    // moment.
    if (holders > 1 && (single || !environment.repository)) return "both blades hold the session";
    if (single && world.used + holders > 1) return "the session was used, and can be used again";
    for (const auto& [move, count] : world.answers)
        if (count > 1) return fmt::format("move {} was answered {} times", move, count);
    const auto answered = [&](BladeId blade) { return world.purges->of(blade).empty(); };
    const bool purged = world.purge_asked && answered(1) && answered(2) && answered(Purges::kRepositories);
    if (purged && holders > 0) return "it was purged everywhere, and is still there";
    if (purged && world.kept) return "it was purged everywhere, and is still in the repository";
    return quiet(world) ? wrong_at_rest(world) : "";
}

std::string Explorer::Impl::wrong_at_rest(const World& world) const {
    const int holders = world.holds[0].has_value() + world.holds[1].has_value();
    if (holders > 1) return "both blades hold the session";
    if (!world.forgetful && !world.troubled && world.answers.size() != world.asked + world.pulled)
        return "a move was never answered";
    if (world.troubled || world.purge_asked) return "";
    const bool used_up = environment.record.single_use && world.used == 1;
    if (holders + used_up != 1) return "the session is lost though nothing went wrong";
    if (holders == 1 && world.moves->holder(environment.name) != id_of(world.holds[0] ? 0 : 1))
        return "keyraild is wrong about where the session is";
    return "";
}

Explorer::Explorer(const Troubles& troubles, Mistake mistake)
    : impl_(std::make_unique<Impl>(troubles, mistake)) {}
Explorer::~Explorer() = default;

Explorer::Report Explorer::run() {
    impl_->seen.insert(Inspect::of(impl_->start, impl_->environment.name));
    impl_->explore(impl_->start);
    impl_->report.states = impl_->seen.size();
    return impl_->report;
}

}  // namespace keyrail::testing
