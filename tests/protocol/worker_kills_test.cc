// SPDX-License-Identifier: Apache-2.0
// nginx workers die by kill -9 at each step of a move: the move is held between the processes, the worker is
// killed, the move goes on. keyraild, agents, nginx with the hooks and clients are real; the test plays the
// dataplane.
#include <gtest/gtest.h>

#include <future>

#include "dataplane/common/hex.h"
#include "tests/support/nginx_server.h"
#include "tests/support/proxy.h"
#include "tests/support/real_chassis.h"
#include "tests/support/tls_client.h"

namespace keyrail::testing {
namespace {

constexpr BladeId kHolder = 1, kTarget = 2, kNobody = 0;

/// Where a move can be held. The holder takes a session and sends it in one go: nothing is between the two.
enum class Step { ordered, received, sent, stored, told_keyraild, told_holder };
struct Held {
    Step step;
    const char* name;
    BladeId session_at;  // meanwhile
};
constexpr std::array kSteps = {
    Held{Step::ordered, "keyraild has ordered it", kHolder},
    Held{Step::received, "the holder has the order, and no connection to the target", kHolder},
    Held{Step::sent, "the holder has taken the session and sent it", kNobody},
    Held{Step::stored, "the target has stored it, and nobody knows", kTarget},
    Held{Step::told_keyraild, "keyraild knows, and the holder does not", kTarget},
    Held{Step::told_holder, "the holder knows, and keyraild does not", kTarget}};

/// A server that misses a session asks for it; in vain while keyraild waits for the move, which is until it
/// gives up.
bool may_be_pulled(const Held& held, BladeId victim) {
    return held.step == Step::told_keyraild && victim == kHolder;
}

std::string address_of(BladeId blade) { return fmt::format("127.0.2.{}", blade); }

class WorkerKills : public ::testing::TestWithParam<int> {
  protected:
    WorkerKills() {
        chassis.serve_at({address_of(kHolder), address_of(kTarget)});
        chassis.peer_port[kTarget] = free_port();
        for (const BladeId id : {kHolder, kTarget}) chassis.set_control(id, free_port());
        orders.emplace(chassis.reach_control.at(kHolder), chassis.control_port);
        reports.emplace(chassis.reach_control.at(kTarget), chassis.control_port);
        transfers.emplace(chassis.peer_port[kTarget], chassis.agent_port[kTarget]);
        chassis.between = [this] { look(); };
        start();
    }
    void start() {
        chassis.start_daemon();
        for (const BladeId id : {kHolder, kTarget}) chassis.start_agent(id);
        chassis.require([&] { return chassis.stores_ready(); }, "the agents have their keys");
        for (const BladeId id : {kHolder, kTarget})
            servers.try_emplace(id, chassis.files.directory() / fmt::format("nginx-{}", id), address_of(id),
                                chassis.service_port(), chassis.files.files("control"),
                                chassis.store_path(id));
        chassis.require([&] { return chassis.ready(); }, "both servers listen");
    }
    /// Whenever the test waits: messages pass, and the session is at one blade at most.
    void look() {
        for (Proxy* proxy : {&*orders, &*reports, &*transfers}) proxy->poll();
        // Moves here go from the holder to the target: who has it first is asked last, lest it be seen twice.
        const bool at_target = chassis.stores.contains(kTarget) && has(kTarget, watched);
        two_holders |= at_target && has(kHolder, watched) && has(kTarget, watched);
    }
    [[nodiscard]] bool has(BladeId blade, const SessionName& name) const {
        return chassis.stores.at(blade).contains(name);
    }
    [[nodiscard]] BladeId holder_of(const SessionName& name) const {
        return has(kTarget, name) ? kTarget : has(kHolder, name) ? kHolder : kNobody;
    }

    /// A client's connection; what servers and agents do for it goes on meanwhile.
    Visit come_to(BladeId blade, const SessionPtr& offered = nullptr) {
        auto coming = std::async(std::launch::async, visit, address_of(blade), chassis.service_port(),
                                 GetParam(), offered);
        chassis.until([&] { return coming.wait_for(std::chrono::seconds(0)) == std::future_status::ready; },
                      30'000);
        const Visit result = coming.get();
        EXPECT_TRUE(result.served) << fmt::format("a connection to blade {} failed: {}\n{}", blade,
                                                  result.problem, servers.at(blade).log());
        return result;
    }
    /// A session that the holder's server has made: the store has it a moment after the client.
    Visit new_session() {
        Visit made = come_to(kHolder);
        EXPECT_TRUE(made.served && chassis.until([&] { return has(kHolder, made.name()); }));
        return made;
    }
    void request_move(const SessionName& name) {
        constexpr uint32_t kBudgetUs = 4'000'000;  // a held move waits for the test, not for its budget
        chassis.request_move(++move, name, kHolder, kTarget, kBudgetUs);
    }
    [[nodiscard]] bool answered() const {
        for (const auto& message : chassis.dataplane->of(link::ToDataplane::kMoveOutcome))
            if (message.move_outcome().move_id() == move) return true;
        return false;
    }
    /// keyraild asks the holder for the session by the connection that the order went by, so after it.
    bool order_has_arrived(const SessionName& name) {
        Process question({std::getenv("KR_KEYRAIL"), "--socket", chassis.socket().string(), "session",
                          "where", to_hex(bytes_of(name))},
                         chassis.files.directory() / "answer");
        EXPECT_TRUE(chassis.until([&] { return question.ended(); }));
        EXPECT_EQ(question.wait(), 0) << question.log();
        return !HasFailure();
    }

    /// Begins a move that goes as far as this step.
    bool move_until(Step step, const SessionName& name) {
        using enum Proxy::Direction;
        if (step == Step::ordered) orders->hold(back);
        if (step == Step::received) transfers->cut();
        if (step == Step::sent) transfers->hold(there);
        if (step > Step::sent) transfers->watch(there, [this, step] { return hold_answers(step); });
        request_move(name);
        switch (step) {
            case Step::ordered:
                return chassis.until([&] { return orders->holds(); });
            case Step::received:
                return order_has_arrived(name);
            case Step::sent:
                return chassis.until([&] { return transfers->holds(); });
            case Step::stored:
                return chassis.until([&] { return reports->holds() && transfers->holds(); });
            case Step::told_keyraild:
                return chassis.until([&] { return transfers->holds() && answered(); });
            case Step::told_holder:
                return chassis.until([&] { return reports->holds() && !transfers->watching(); });
        }
        return false;
    }
    /// The session is on its way: what the target will say of it.
    bool hold_answers(Step step) {
        if (step != Step::told_keyraild) reports->hold(Proxy::Direction::there);
        if (step == Step::told_holder)
            transfers->watch(Proxy::Direction::back, [] { return true; });
        else
            transfers->hold(Proxy::Direction::back);
        return true;
    }
    void go_on() {
        transfers->mend();
        for (Proxy* proxy : {&*orders, &*reports, &*transfers}) proxy->release();
    }
    bool kill_worker(BladeId blade) {
        const NginxServer& server = servers.at(blade);
        const std::set<pid_t> victims = server.kill_workers();
        EXPECT_EQ(victims.size(), 1U) << server.log();
        return chassis.until([&] {
            const std::set<pid_t> now = server.workers();
            return !now.empty() && !now.contains(*victims.begin());
        });
    }

    void kill_at(const Held& held, BladeId victim, bool client_comes);
    void resumes_once(const Visit& last);
    void next_session_moves();

    // Servers and proxies go before the chassis whose files they use.
    RealChassis chassis{2};
    std::optional<Proxy> orders, reports, transfers;  // keyraild - holder, keyraild - target, holder - target
    std::map<uint16_t, NginxServer> servers;
    SessionName watched{};
    bool two_holders = false;
    uint64_t move = 0;
};

/// `client_comes`: to the victim's blade, while the move is held; there its session is resumed if it is
/// there, else a full handshake is made. Once the move has gone on, the session that it has then is resumed,
/// whatever happened.
void WorkerKills::kill_at(const Held& held, BladeId victim, bool client_comes) {
    const Visit first = new_session();
    ASSERT_TRUE(first.served);
    watched = first.name();
    ASSERT_TRUE(move_until(held.step, watched)) << chassis.logs();
    ASSERT_EQ(holder_of(watched), held.session_at);
    ASSERT_TRUE(kill_worker(victim)) << servers.at(victim).log();
    ASSERT_EQ(holder_of(watched), held.session_at) << "it does not depend on a worker";
    Visit last = first;  // what the client would come back with
    if (client_comes) {
        const Visit early = come_to(victim, first.session);
        ASSERT_TRUE(early.served);
        EXPECT_TRUE(early.resumed == (held.session_at == victim) || may_be_pulled(held, victim));
        if (early.resumed) last = early;
    }
    go_on();
    ASSERT_TRUE(chassis.until([&] { return answered(); })) << chassis.logs();
    const bool came_back = last.session != first.session;
    ASSERT_TRUE(holder_of(watched) == kTarget || came_back || (client_comes && may_be_pulled(held, victim)));
    ASSERT_NO_FATAL_FAILURE(resumes_once(last));
    if (GetParam() == TLS1_3_VERSION && came_back) {
        EXPECT_FALSE(come_to(kTarget, first.session).resumed) << "used up while the move was held";
    }
}

/// At its holder; and at nobody's when it was used up with that (a blade that misses it asks the others).
void WorkerKills::resumes_once(const Visit& last) {
    ASSERT_TRUE(chassis.until([&] { return holder_of(last.name()) != kNobody; })) << "it got lost";
    const BladeId at = holder_of(last.name());
    EXPECT_TRUE(come_to(at, last.session).resumed) << "at blade " << at;
    if (GetParam() == TLS1_2_VERSION) {
        EXPECT_TRUE(come_to(at, last.session).resumed) << "reusable at its one holder";
        return;
    }
    for (const BladeId blade : {kHolder, kTarget})
        EXPECT_FALSE(come_to(blade, last.session).resumed) << "a second use, at blade " << blade;
}

/// Nobody has helped: another session is made, moved, and resumed where it is then.
void WorkerKills::next_session_moves() {
    const Visit next = new_session();
    ASSERT_TRUE(next.served);
    watched = next.name();
    request_move(watched);
    ASSERT_TRUE(chassis.until([&] { return answered() && has(kTarget, watched); })) << chassis.logs();
    EXPECT_TRUE(come_to(kTarget, next.session).resumed);
}

TEST_P(WorkerKills, AtEachStepOfAMove) {
    for (const Held& held : kSteps)
        for (const BladeId victim : {kHolder, kTarget})
            for (const bool client_comes : {false, true}) {
                SCOPED_TRACE(fmt::format("{}; the worker of blade {}, a client comes {}", held.name, victim,
                                         client_comes ? "at once" : "afterwards"));
                ASSERT_NO_FATAL_FAILURE(kill_at(held, victim, client_comes));
                ASSERT_NO_FATAL_FAILURE(next_session_moves());
                EXPECT_FALSE(two_holders);
                ASSERT_FALSE(HasFailure()) << chassis.logs();
            }
}

INSTANTIATE_TEST_SUITE_P(Tls, WorkerKills, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& version) { return version.param == TLS1_2_VERSION ? "12" : "13"; });

}  // namespace
}  // namespace keyrail::testing
