// SPDX-License-Identifier: Apache-2.0
// keyrail-dp's end of the link, spoken to over a real socket, with no worker behind it.
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <optional>
#include <thread>

#include "dataplane/common/counters.h"
#include "dataplane/core/snapshot.h"
#include "dataplane/link/control_link.h"
#include "dataplane/link/kept_snapshot.h"
#include "dataplane/tables/moved_table.h"
#include "link.pb.h"
#include "tests/vdev/eal_fixture.h"

namespace keyrail {
namespace {

constexpr uint64_t kFarFuture = 4'000'000'000;

class Client {
  public:
    explicit Client(const std::filesystem::path& path)
        : fd_(socket(AF_UNIX, SOCK_SEQPACKET, 0)), buffer_(kMaxPacket, 0) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.native().copy(address.sun_path, sizeof address.sun_path - 1);
        const timeval limit{.tv_sec = 5, .tv_usec = 0};
        setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        const int large = 16 << 20;
        setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
        connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }
    bool send_bytes(const std::string& bytes) {
        return send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(bytes.size());
    }
    bool send_message(const link::ToDataplane& message) { return send_bytes(message.SerializeAsString()); }
    /// nullopt at the end of the connection, or after five seconds.
    std::optional<link::FromDataplane> receive() {
        const ssize_t size = recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
        link::FromDataplane message;
        if (size <= 0 || !message.ParseFromArray(buffer_.data(), static_cast<int>(size))) return std::nullopt;
        return message;
    }
    link::FromDataplane ask(const link::ToDataplane& message) {
        EXPECT_TRUE(send_message(message));
        return receive().value_or(link::FromDataplane());
    }
    [[nodiscard]] bool connected() const { return connected_; }

  private:
    Descriptor fd_;
    std::string buffer_;
    bool connected_ = false;
};

link::ToDataplane snapshot_message(uint64_t generation) {
    link::ToDataplane message;
    message.set_request(generation);
    auto& snapshot = *message.mutable_snapshot();
    snapshot.set_generation(generation);
    auto& cookie = *snapshot.add_cookie_keys();
    cookie.set_key(std::string(16, 'c'));
    cookie.set_current(true);
    snapshot.add_name_keys()->set_key(std::string(16, 'n'));
    auto& blade = *snapshot.add_blades();
    blade.set_id(3);
    blade.set_address(std::string("\x0a\x4d\x00\x0d", 4));
    blade.set_intake(link::INTAKE_OPEN);
    auto& service = *snapshot.add_services();
    service.set_name("www");
    service.add_addresses(std::string("\xc6\x33\x64\x01", 4));
    service.set_port(443);
    service.add_blade_ids(3);
    return message;
}

link::MovedEntry moved_entry(char name, uint32_t holder) {
    link::MovedEntry entry;
    entry.set_name(std::string(kSessionNameSize, name));
    entry.set_holder(holder);
    entry.set_expires_unix_s(kFarFuture);
    return entry;
}

SessionName name_of(char fill) {
    SessionName name;
    name.fill(static_cast<uint8_t>(fill));
    return name;
}

class ControlLinkTest : public testing::Test {
  protected:
    void SetUp() override {
        char folder[] = "/tmp/keyrail-link-XXXXXX";
        folder_ = mkdtemp(folder);
        kept_.emplace(folder_, "a boot");
        wake_ = Descriptor(eventfd(0, EFD_NONBLOCK));
        shared_.wake_control = wake_.get();
        shared_.rcu = static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(1), 64));
        rte_rcu_qsbr_init(shared_.rcu, 1);
        shared_.asks[0] = create_ring("asks", sizeof(MoveAsk), 64, SOCKET_ID_ANY, 0);
        shared_.answers[0] = create_ring("answers", sizeof(MoveAnswer), 64, SOCKET_ID_ANY, 0);
        moved_ = std::move(*MovedTable::create(1024));
        shared_.moved = moved_.get();
        start();
    }
    void start() {
        loop_.emplace(std::move(*EventLoop::create()));
        // The control thread must not be asked to end from here: an event of its own tells it.
        end_ = Descriptor(eventfd(0, EFD_NONBLOCK));
        ASSERT_TRUE(loop_->watch(end_.get(), [this] { loop_->stop(); }));
        ControlLink::Parts parts{*loop_, ports_, shared_, {&stats_}, nullptr, &*kept_, true, "1.2.3"};
        auto control = ControlLink::listen(folder_ / "dp.sock", std::move(parts));
        ASSERT_TRUE(control) << control.error().message;
        control_ = std::move(*control);
        thread_ = std::thread([this] { loop_->run(); });
    }
    void stop() {
        eventfd_write(end_.get(), 1);
        thread_.join();
        control_.reset();
    }
    void TearDown() override {
        stop();
        EXPECT_FALSE(std::filesystem::exists(folder_ / "dp.sock"));
        std::filesystem::remove_all(folder_);
        moved_.reset();
        rte_ring_free(shared_.asks[0]);
        rte_ring_free(shared_.answers[0]);
        rte_free(shared_.rcu);
    }

    /// A connection whose Hello has been read.
    std::unique_ptr<Client> connect() {
        auto client = std::make_unique<Client>(folder_ / "dp.sock");
        EXPECT_TRUE(client->connected());
        hello_ = client->receive().value_or(link::FromDataplane()).hello();
        return client;
    }
    bool connected_becomes(bool value) {
        for (int i = 0; i < 500 && shared_.control_connected != value; ++i) usleep(10'000);
        return shared_.control_connected == value;
    }
    /// A worker wants a session of this service moved from blade 3 to blade 4.
    void ask_for_move(const char* service) {
        MoveAsk ask{.move_id = MoveId(uint64_t{77}),
                    .name = name_of('m'),
                    .from = 3,
                    .to = 4,
                    .service = ServiceId::of(service),
                    .tls_version = TlsVersion::tls13,
                    .budget_us = 20'000};
        ASSERT_EQ(rte_ring_enqueue_elem(shared_.asks[0], &ask, sizeof ask), 0);
        ASSERT_EQ(eventfd_write(wake_.get(), 1), 0);
    }
    uint64_t generation() {
        const Snapshot* snapshot = shared_.snapshot.load();
        return snapshot == nullptr ? 0 : snapshot->generation;
    }

    std::filesystem::path folder_;
    std::optional<KeptSnapshot> kept_;
    Shared shared_;
    Ports ports_;
    WorkerStats stats_;
    Descriptor wake_, end_;
    std::unique_ptr<MovedTable> moved_;
    std::optional<EventLoop> loop_;
    std::unique_ptr<ControlLink> control_;
    std::thread thread_;
    link::Hello hello_;
};

TEST_F(ControlLinkTest, SaysHello) {
    struct stat status{};
    ASSERT_EQ(stat((folder_ / "dp.sock").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_FALSE(shared_.control_connected);
    {
        const auto client = connect();
        EXPECT_EQ(hello_.version(), "1.2.3");
        EXPECT_EQ(hello_.workers(), 1u);
        EXPECT_EQ(hello_.snapshot_generation(), 0u);
        EXPECT_TRUE(connected_becomes(true));
    }
    EXPECT_TRUE(connected_becomes(false));
}

TEST_F(ControlLinkTest, TakesSnapshots) {
    const auto client = connect();
    const auto answer = client->ask(snapshot_message(7));
    EXPECT_TRUE(answer.has_accepted()) << answer.DebugString();
    EXPECT_EQ(answer.request(), 7u);
    EXPECT_EQ(generation(), 7u);
    EXPECT_TRUE(client->ask(snapshot_message(8)).has_accepted());
    EXPECT_EQ(generation(), 8u);
    const auto again = connect();
    EXPECT_EQ(hello_.snapshot_generation(), 8u);
}

/// What steers before keyraild has come, after a restart.
TEST_F(ControlLinkTest, GoesOnWithTheLastSnapshotOfTheProcessBefore) {
    ASSERT_TRUE(connect()->ask(snapshot_message(7)).has_accepted());
    stop();
    EXPECT_EQ(generation(), 0u);
    start();
    EXPECT_EQ(generation(), 7u);
    const auto client = connect();
    EXPECT_EQ(hello_.snapshot_generation(), 7u);
    EXPECT_TRUE(client->ask(snapshot_message(8)).has_accepted());
    EXPECT_EQ(generation(), 8u);
}

/// Another program's, or one that was made for services which this version refuses.
TEST_F(ControlLinkTest, WaitsForKeyraildWhereTheKeptSnapshotMakesNoSense) {
    auto bad = snapshot_message(7);
    bad.mutable_snapshot()->mutable_services(0)->add_blade_ids(44);
    ASSERT_TRUE(kept_->keep(bad.snapshot()));
    stop();
    start();
    EXPECT_EQ(generation(), 0u);
    EXPECT_TRUE(connect()->ask(snapshot_message(8)).has_accepted());
}

TEST_F(ControlLinkTest, RefusesBadMessagesAndKeepsItsState) {
    const auto client = connect();
    ASSERT_TRUE(client->ask(snapshot_message(7)).has_accepted());
    auto bad = snapshot_message(9);
    bad.mutable_snapshot()->mutable_services(0)->add_blade_ids(44);
    const auto answer = client->ask(bad);
    EXPECT_EQ(answer.request(), 9u);
    EXPECT_NE(answer.refused().reason().find("44"), std::string::npos) << answer.DebugString();
    EXPECT_EQ(generation(), 7u);

    ASSERT_TRUE(client->send_bytes("\xff\xff\xff garbage"));
    EXPECT_TRUE(client->receive()->has_refused());
    link::ToDataplane empty;
    empty.set_request(5);
    EXPECT_EQ(client->ask(empty).request(), 5u);
    EXPECT_TRUE(client->ask(snapshot_message(8)).has_accepted());
}

TEST_F(ControlLinkTest, RefusesPacketsThatAreTooLarge) {
    const auto client = connect();
    ASSERT_TRUE(client->send_bytes(std::string(kMaxPacket + 1, 'x')));
    const auto answer = client->receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->refused().reason(), "a message of 4194305 bytes; 4194304 are the most");
    EXPECT_TRUE(client->ask(snapshot_message(1)).has_accepted());
}

TEST_F(ControlLinkTest, TakesLargePackets) {
    const auto client = connect();
    auto message = snapshot_message(2);
    message.mutable_snapshot()->mutable_blades(0)->set_name(std::string(kMaxPacket - 4096, 'n'));
    EXPECT_TRUE(client->ask(message).has_accepted());
}

TEST_F(ControlLinkTest, FillsTheMovedTable) {
    const auto client = connect();
    link::ToDataplane message;
    *message.mutable_moved_entries()->add_entries() = moved_entry('a', 3);
    *message.mutable_moved_entries()->add_entries() = moved_entry('b', 4);
    EXPECT_TRUE(client->ask(message).has_accepted());
    EXPECT_EQ(moved_->find(name_of('a'), 1), 3);

    message.mutable_moved_entries()->clear_entries();
    *message.mutable_moved_entries()->add_entries() = moved_entry('c', 5);
    *message.mutable_moved_entries()->add_entries() = moved_entry('d', 4096);
    message.mutable_moved_entries()->set_replace_all(true);
    EXPECT_TRUE(client->ask(message).has_refused());  // all or nothing
    EXPECT_EQ(moved_->find(name_of('a'), 1), 3);
    EXPECT_FALSE(moved_->find(name_of('c'), 1));

    message.mutable_moved_entries()->mutable_entries()->RemoveLast();
    EXPECT_TRUE(client->ask(message).has_accepted());
    EXPECT_FALSE(moved_->find(name_of('a'), 1));
    EXPECT_EQ(moved_->find(name_of('c'), 1), 5);
    message.mutable_moved_entries()->mutable_entries(0)->set_name("short");
    EXPECT_TRUE(client->ask(message).has_refused());
}

TEST_F(ControlLinkTest, PassesOnAsksAndOutcomes) {
    const auto client = connect();
    ASSERT_TRUE(client->ask(snapshot_message(1)).has_accepted());
    ask_for_move("www");
    const auto request = client->receive();
    ASSERT_TRUE(request && request->has_move_request());
    EXPECT_EQ(request->move_request().move_id(), 77u);
    EXPECT_EQ(request->move_request().service(), "www");
    EXPECT_EQ(request->move_request().name(), std::string(kSessionNameSize, 'm'));
    EXPECT_EQ(request->move_request().from(), 3u);
    EXPECT_EQ(request->move_request().to(), 4u);
    EXPECT_EQ(request->move_request().tls_version(), number_of(TlsVersion::tls13));
    EXPECT_EQ(request->move_request().budget_us(), 20'000u);

    link::ToDataplane outcome;
    outcome.mutable_move_outcome()->set_move_id(uint64_t{1} << 56);  // no such worker
    ASSERT_TRUE(client->send_message(outcome));
    outcome.mutable_move_outcome()->set_move_id(77);
    *outcome.mutable_move_outcome()->mutable_now() = moved_entry('m', 4);
    ASSERT_TRUE(client->send_message(outcome));
    outcome.mutable_move_outcome()->set_move_id(78);
    outcome.mutable_move_outcome()->set_result(link::LOST);
    ASSERT_TRUE(client->send_message(outcome));
    ASSERT_TRUE(client->ask(snapshot_message(2)).has_accepted());  // the outcomes were handled before it

    MoveAnswer answer{};
    ASSERT_EQ(rte_ring_dequeue_elem(shared_.answers[0], &answer, sizeof answer), 0);
    EXPECT_EQ(answer.move_id.number(), 77u);
    EXPECT_EQ(answer.holder, 4);
    EXPECT_EQ(answer.moved, 1);
    EXPECT_EQ(moved_->find(name_of('m'), 1), 4);
    ASSERT_EQ(rte_ring_dequeue_elem(shared_.answers[0], &answer, sizeof answer), 0);
    EXPECT_EQ(answer.move_id.number(), 78u);
    EXPECT_EQ(answer.moved, 0);
    EXPECT_NE(rte_ring_dequeue_elem(shared_.answers[0], &answer, sizeof answer), 0);
}

/// A snapshot came between the worker's question and the control thread's look at it.
TEST_F(ControlLinkTest, AMoveForAServiceThatIsGoneEndsAtOnce) {
    const auto client = connect();
    ASSERT_TRUE(client->ask(snapshot_message(1)).has_accepted());
    ask_for_move("gone");
    MoveAnswer answer{};
    int left = 500;
    while (rte_ring_dequeue_elem(shared_.answers[0], &answer, sizeof answer) != 0 && --left > 0)
        usleep(10'000);
    ASSERT_GT(left, 0) << "nobody answered";
    EXPECT_EQ(answer.move_id.number(), 77u);
    EXPECT_EQ(answer.moved, 0);
}

TEST_F(ControlLinkTest, ReportsCounters) {
    const auto client = connect();
    ASSERT_TRUE(client->ask(snapshot_message(6)).has_accepted());
    stats_.rx.add(10);
    stats_.held.set(2);
    stats_.flows.set(5);
    stats_.blade_flows[3].add(4);
    stats_.count(Reason::drop_tx_full, 3);
    shared_.blade_hop[3].store(NextHop({2, 0, 0, 0, 0, 1}, 1));
    link::ToDataplane question;
    question.set_request(11);
    question.mutable_stats_request();
    const auto answer = client->ask(question);
    EXPECT_EQ(answer.request(), 11u);
    const auto& stats = answer.stats();
    EXPECT_EQ(stats.snapshot_generation(), 6u);
    EXPECT_EQ(stats.held(), 2u);
    EXPECT_EQ(stats.flows(), 5u);
    ASSERT_EQ(stats.blades_size(), 1);
    EXPECT_EQ(stats.blades(0).id(), 3u);
    EXPECT_EQ(stats.blades(0).flows_bound(), 4u);
    EXPECT_TRUE(stats.blades(0).neighbour_known());
    ASSERT_EQ(stats.workers_size(), 1);
    std::map<std::string, uint64_t> counters;
    for (const auto& counter : stats.workers(0).counters()) counters[counter.name()] = counter.value();
    EXPECT_EQ(counters.size(), kReasons + kWorkerCounters.size());
    EXPECT_EQ(counters["rx"], 10u);
    EXPECT_EQ(counters["held"], 2u);
    EXPECT_EQ(counters["drop_tx_full"], 3u);
    EXPECT_TRUE(counters.contains("steer_home"));
}

/// Nobody runs packets here.
TEST_F(ControlLinkTest, RefusesWhatCannotBeExplained) {
    const auto client = connect();
    link::ToDataplane question;
    question.set_request(5);
    question.mutable_explain_request();
    auto answer = client->ask(question);
    EXPECT_EQ(answer.request(), 5u);
    EXPECT_NE(answer.refused().reason().find("need an address each"), std::string::npos)
        << answer.DebugString();
    auto& wish = *question.mutable_explain_request();
    wish.set_client(std::string("\xc0\x00\x02\x0a", 4));
    wish.set_address(std::string("\xc6\x33\x64\x01", 4));
    wish.set_client_port(40000);
    wish.set_port(443);
    EXPECT_NE(client->ask(question).refused().reason().find("explains nothing"), std::string::npos);
}

TEST_F(ControlLinkTest, TakesOneTraceAtATime) {
    const auto client = connect();
    link::ToDataplane start, stop;
    auto& wish = *start.mutable_trace_start();
    wish.set_packets(10);
    EXPECT_TRUE(client->ask(start).has_refused()) << "no seconds";
    wish.set_seconds(60);
    wish.mutable_filter()->add_reasons("nonsense");
    EXPECT_TRUE(client->ask(start).has_refused());
    wish.mutable_filter()->clear_reasons();
    wish.set_snap(4000);
    EXPECT_TRUE(client->ask(start).has_refused());
    wish.set_snap(0);
    EXPECT_TRUE(client->ask(start).has_accepted());
    EXPECT_EQ(client->ask(start).refused().reason(), "a trace is under way");
    EXPECT_NE(shared_.tasks[0].load(), nullptr) << "the worker is to have it";
    stop.mutable_trace_stop();
    EXPECT_TRUE(client->ask(stop).has_accepted());
}

TEST_F(ControlLinkTest, ANewConnectionReplacesTheOld) {
    const auto first = connect();
    const auto second = connect();
    EXPECT_FALSE(first->receive());
    EXPECT_TRUE(second->ask(snapshot_message(3)).has_accepted());
    EXPECT_TRUE(shared_.control_connected);
}

TEST(RunDirectory, HasOneOwner) {
    char folder[] = "/tmp/keyrail-run-XXXXXX";
    const std::filesystem::path path = std::filesystem::path(mkdtemp(folder)) / "run";
    {
        const auto lock = lock_run_directory(path);
        ASSERT_TRUE(lock);
        const auto second = lock_run_directory(path);
        ASSERT_FALSE(second);
        EXPECT_NE(second.error().message.find("another keyrail-dp uses"), std::string::npos);
    }
    EXPECT_TRUE(lock_run_directory(path));
    {
        const auto killed = listen_seqpacket(path / "dp.sock");  // leaves its socket behind
        ASSERT_TRUE(killed);
    }
    EXPECT_TRUE(std::filesystem::exists(path / "dp.sock"));
    EXPECT_TRUE(listen_seqpacket(path / "dp.sock"));
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace keyrail
