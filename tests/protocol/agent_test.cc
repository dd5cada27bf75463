// SPDX-License-Identifier: Apache-2.0
// The agent by itself: keys, announcements, restarts, what it answers.
#include "tests/support/agent_test.h"

namespace keyrail {
namespace {

class AgentTest : public testing::AgentBench {};

TEST_F(AgentTest, TellsTheHooksWhatKeyraildAssigned) {
    start(1);
    ready({1});
    StoreControl told;
    ASSERT_TRUE(stores[1]->control().read([&](const StoreControl& now) { told = now; }));
    EXPECT_EQ(told.blade_id, 1);
    EXPECT_EQ(told.name_key_count, 1);
    EXPECT_EQ(told.name_keys[0].key, kNameKey);
    EXPECT_EQ(told.services[0].service, ServiceId::of("www"));
    EXPECT_EQ(told.services[0].lifetime_s, 1234U);
    const auto hello = control->of(1, Envelope::kAgentHello)[0].agent_hello();
    EXPECT_EQ(hello.agent_address(), local(listen_port[1]).text());
    EXPECT_FALSE(hello.accept_program());
    EXPECT_TRUE(control->of(1, Envelope::kAnnounce)[0].announce().reset());
}

TEST_F(AgentTest, KeysOfAnotherBladeAreNotUsed) {
    start(1);
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kAnnounce).empty(); }));
    ASSERT_TRUE(control->channels[1]->send(keys_for(2)));
    EXPECT_FALSE(run_until(io, [&] { return stores[1]->control().version() != 0; }, 100));
}

TEST_F(AgentTest, AnnouncesWhatMovedInAfterKeyraildComesBack) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName moved = name_at(1, 1), native = name_at(2, 2);
    put(1, moved);
    put(2, native);
    order(7, moved, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
    control = nullptr;
    const auto begin = std::chrono::steady_clock::now();
    control = std::make_unique<FakeEnd>(io, chassis.tls("control"), control_port);
    ASSERT_TRUE(run_until(io, [&] { return !control->of(2, Envelope::kAnnounce).empty(); }));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
    const auto announce = control->of(2, Envelope::kAnnounce)[0].announce();
    EXPECT_TRUE(announce.reset());
    ASSERT_EQ(announce.held_size(), 1);
    EXPECT_EQ(announce.held(0).name(), bytes_of(moved));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(2, Envelope::kHealth).empty(); }));
    // Order numbers of the new keyraild are new ones, also where they look like old ones.
    ASSERT_TRUE(run_until(io, [&] { return control->channels.contains(1); }));
    order(7, moved, 2, 1);
    EXPECT_EQ(done(1, 7).result(), chassis::MOVED);
}

TEST_F(AgentTest, AnnouncesManyInBatches) {
    start(1);
    ready({1});
    SessionRecord record;
    fill(record, 1, 100);
    record.moved_in = true;
    for (uint64_t i = 0; i < 5000; i++) {
        record.name = name_of(i);
        ASSERT_EQ(stores[1]->put(record), Store::Put::kStored);
    }
    control = nullptr;
    control = std::make_unique<FakeEnd>(io, chassis.tls("control"), control_port);
    int held = 0;
    ASSERT_TRUE(run_until(io, [&] {
        held = 0;
        for (const Envelope& message : control->of(1, Envelope::kAnnounce))
            held += message.announce().held_size();
        return held >= 5000;
    }));
    EXPECT_EQ(held, 5000);
    int resets = 0;
    for (const Envelope& message : control->of(1, Envelope::kAnnounce)) resets += message.announce().reset();
    EXPECT_EQ(resets, 1);
}

TEST_F(AgentTest, RestartedAgentHasItsSessions) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    control->received.clear();
    start(1);
    ready({1});
    order(7, name, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

TEST_F(AgentTest, AStoreOfAnotherSizeHasTheSessions) {
    start(1);
    start(2);
    ready({1, 2});
    const SessionName name = name_at(1, 1);
    put(1, name);
    const auto server = Store::open(store_path(1));
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    control->received.clear();
    store_bytes = 8 << 20;
    start(1);
    EXPECT_TRUE(server->retired());
    ready({1});
    order(7, name, 1, 2);
    EXPECT_EQ(done(2, 7).result(), chassis::MOVED);
}

/// The abstract names of the servers' sockets that are bound on this machine.
std::set<std::string> pull_sockets() {
    std::set<std::string> found;
    std::ifstream table("/proc/net/unix");
    for (std::string line; std::getline(table, line);)
        if (const auto at = line.find("@keyrail-pull-"); at != std::string::npos)
            found.insert(line.substr(at + 1));
    return found;
}

/// Any user of the machine may bind an abstract name that nobody has.
TEST_F(AgentTest, StartsThoughSomebodyTookItsSocketsName) {
    const std::set<std::string> before = pull_sockets();
    start(1);
    ready({1});
    std::set<std::string> names = pull_sockets();
    std::erase_if(names, [&](const std::string& name) { return before.contains(name); });
    ASSERT_FALSE(names.empty());
    agents.erase(1);
    run_until(io, [] { return false; }, 20);
    std::vector<int> squatters;
    for (const std::string& name : names) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(name, &address.sun_path[1]);
        const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
        if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) (void)listen(fd, 1);
        squatters.push_back(fd);
    }
    control->received.clear();
    start(1);
    ready({1});
    EXPECT_FALSE(std::ranges::includes(names, pull_sockets())) << "it has another one";
    for (const int fd : squatters) close(fd);
}

/// A process of the servers' group takes every lock of the store, and keeps them.
TEST_F(AgentTest, HeldLocksHoldUpNobodyAndMakeANewStore) {
    start(1);
    ready({1});
    put(1, name_at(1, 1));
    const testing::StoreMemory hostile(store_path(1));
    hostile.set_locks(1);
    for (uint64_t request = 1; request <= 5; request++) {
        Envelope ping;
        ping.set_request(request);
        ping.mutable_ping();
        ASSERT_TRUE(control->channels[1]->send(ping));
        EXPECT_TRUE(run_until(
            io,
            [&] {
                const auto pongs = control->of(1, Envelope::kPong);
                return !pongs.empty() && pongs.back().request() == request;
            },
            1000))
            << "keyraild takes it for dead";
    }
    ASSERT_TRUE(run_until(io, [&] { return stores[1]->retired(); })) << "servers cannot go on";
    stores[1] = std::make_unique<Store>(std::move(*stores[1]->successor()));
    put(1, name_at(1, 2));
    Envelope message;
    message.set_request(9);
    message.mutable_query()->set_name(bytes_of(name_at(1, 2)));
    ASSERT_TRUE(control->channels[1]->send(message));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kQueryReply).empty(); }));
    EXPECT_TRUE(control->of(1, Envelope::kQueryReply).back().query_reply().held());
}

TEST_F(AgentTest, APurgeOfAStoreWithHeldLocksIsNotDone) {
    start(1);
    ready({1});
    put(1, name_at(1, 1));
    const testing::StoreMemory hostile(store_path(1));
    for (const uint32_t holder : {1, 0}) {
        hostile.set_locks(holder);
        purge_all(1, 7);
        const auto reply = control->of(1, Envelope::kPurgeReply).back().purge_reply();
        EXPECT_EQ(reply.held(), holder == 0 ? 0 : hostile.geometry().shards);
        EXPECT_EQ(reply.purged(), holder == 0 ? 1U : 0U);
    }
    EXPECT_FALSE(stores[1]->contains(name_at(1, 1)));
}

TEST_F(AgentTest, AnswersQueries) {
    start(1);
    ready({1});
    const SessionName name = name_at(1, 1);
    put(1, name);
    for (const auto& [asked, request] : {std::pair(name, 5), {name_at(1, 2), 6}}) {
        Envelope message;
        message.set_request(static_cast<uint64_t>(request));
        message.mutable_query()->set_name(bytes_of(asked));
        ASSERT_TRUE(control->channels[1]->send(message));
    }
    ASSERT_TRUE(run_until(io, [&] { return control->of(1, Envelope::kQueryReply).size() == 2; }));
    const auto replies = control->of(1, Envelope::kQueryReply);
    EXPECT_EQ(replies[0].request(), 5U);
    EXPECT_TRUE(replies[0].query_reply().held());
    EXPECT_FALSE(replies[1].query_reply().held());
}

TEST_F(AgentTest, SaysWhichFlowsItsKernelHas) {
    start(1);
    ready({1});
    Envelope question;
    auto& flow = *question.mutable_find_flows()->add_flows();
    flow.set_id(77);
    flow.set_client(std::string({127, 0, 0, 1}));
    flow.set_client_port(control_port);  // somebody listens there, and that is no connection
    flow.set_address(std::string({127, 0, 0, 1}));
    flow.set_port(control_port);
    ASSERT_TRUE(control->channels[1]->send(question));
    ASSERT_TRUE(run_until(io, [&] { return !control->of(1, Envelope::kFlowsFound).empty(); }));
    const auto found = control->of(1, Envelope::kFlowsFound)[0].flows_found();
    ASSERT_EQ(found.answers_size(), 1);
    EXPECT_EQ(found.answers(0).id(), 77U);
    EXPECT_EQ(found.answers(0).presence(), chassis::FlowsFound::ABSENT);
}

TEST_F(AgentTest, SaysAtOnceWhenAServerComesAndGoes) {
    start(1);
    ready({1});
    const auto says = [&](bool listening) {
        const auto reports = control->of(1, Envelope::kHealth);
        const auto& servers = reports.back().health().servers();
        return servers.size() == 1 && servers[0].port() == kServicePort &&
               servers[0].listening() == listening;
    };
    ASSERT_TRUE(run_until(io, [&] { return says(false); }));
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kServicePort);
    ASSERT_EQ(bind(server, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(server, 1), 0);
    ASSERT_TRUE(run_until(io, [&] { return says(true); }, 900));
    run_until(io, [] { return false; }, 30);  // well between two looks of the watch
    close(server);
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(run_until(io, [&] { return says(false); }, 900));
    RecordProperty("noticed_us", static_cast<int>((std::chrono::steady_clock::now() - begin).count() / 1000));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100))
        << "the kernel says so at once";
}

}  // namespace
}  // namespace keyrail
