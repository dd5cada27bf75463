// SPDX-License-Identifier: Apache-2.0
// A thousand snapshots that add, remove, rename and reorder services, pools, routes and blades, while clients
// connect and hellos are held. No client gets to a blade that is not its service's, or to two of them;
// nothing is lost without a reason. The sanitizers watch (tools/test, part sanitize). KR_SEED=N draws other
// changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "link.pb.h"
#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

namespace keyrail {
namespace {

using namespace test;

constexpr uint16_t kBlades = 8;
const std::array<std::string, 5> kVips = {kVip4, kVip6, "203.0.113.1", "203.0.113.2", "2001:db8:100::2"};
constexpr size_t kEarlyVips = 2;  // the last ones: services there bind early

/// One random configuration: who serves each VIP, and in what state the blades are.
struct Configuration {
    std::map<std::string, std::vector<std::set<uint16_t>>> pools;  // by VIP, of its service
    std::map<uint16_t, link::Blade> blades;
    link::Snapshot message;

    [[nodiscard]] bool lives(uint16_t blade) const {
        const auto at = blades.find(blade);
        return at != blades.end() && !at->second.gone();
    }
    [[nodiscard]] bool takes_new(uint16_t blade) const {
        return lives(blade) && blades.at(blade).intake() != link::INTAKE_NONE;
    }
    [[nodiscard]] bool serves(const std::string& vip, uint16_t blade) const {
        const auto at = pools.find(vip);
        return at != pools.end() && takes_new(blade) &&
               std::ranges::any_of(at->second, [&](const auto& pool) { return pool.contains(blade); });
    }
    /// Whatever a client asks for, some blade has it.
    [[nodiscard]] bool served(const std::string& vip) const {
        const auto at = pools.find(vip);
        return at != pools.end() && std::ranges::all_of(at->second, [&](const auto& pool) {
                   return std::ranges::any_of(pool, [&](uint16_t blade) { return takes_new(blade); });
               });
    }
    static constexpr std::array<uint16_t, kBlades> kBladeIds = {1, 2, 3, 4, 5, 6, 7, 8};
};

class Drawing {
  public:
    explicit Drawing(uint32_t seed) : random_(seed) {}
    uint32_t below(uint32_t end) { return std::uniform_int_distribution<uint32_t>(0, end - 1)(random_); }
    bool one_in(uint32_t n) { return below(n) == 0; }

    Configuration configuration() {
        Configuration drawn;
        drawn.message = snapshot_of({});
        const link::Service model = drawn.message.services(0);
        drawn.message.clear_services();
        drawn.message.clear_blades();
        std::vector<uint16_t> there;
        for (const uint16_t id : Configuration::kBladeIds)
            if (!one_in(12)) there.push_back(id);
        if (there.empty()) there.push_back(1);
        for (const uint16_t id : there) add_blade(id, drawn);
        std::vector<size_t> vips(kVips.size());
        for (size_t i = 0; i < vips.size(); i++) vips[i] = i;
        std::ranges::shuffle(vips, random_);
        for (const size_t vip : vips)
            if (!one_in(8)) add_service(vip, model, there, drawn);
        return drawn;
    }
    auto& engine() { return random_; }

  private:
    void add_blade(uint16_t id, Configuration& drawn) {
        constexpr std::array kStates = {link::INTAKE_OPEN, link::INTAKE_OPEN,     link::INTAKE_OPEN,
                                        link::INTAKE_OPEN, link::INTAKE_DRAINING, link::INTAKE_OVERLOADED,
                                        link::INTAKE_NONE};
        link::Blade& blade = *drawn.message.add_blades();
        blade.set_id(id);
        blade.set_address(std::string({10, 77, 0, static_cast<char>(10 + id)}));
        blade.set_intake(kStates[below(kStates.size())]);
        blade.set_gone(blade.intake() == link::INTAKE_NONE && one_in(2));
        drawn.blades[id] = blade;
    }
    void draw_pool(google::protobuf::RepeatedField<uint32_t>& ids, const std::vector<uint16_t>& there,
                   std::vector<std::set<uint16_t>>& pools) {
        std::vector<uint16_t> some;
        std::ranges::sample(there, std::back_inserter(some), 2 + below(3), random_);
        ids.Assign(some.begin(), some.end());
        pools.emplace_back(some.begin(), some.end());
    }
    void add_service(size_t vip, const link::Service& model, const std::vector<uint16_t>& there,
                     Configuration& drawn) {
        link::Service& service = *drawn.message.add_services() = model;
        // Mostly the service of before, or another one that got its address.
        service.set_name("service" + std::to_string(vip) + (one_in(6) ? "renamed" : ""));
        service.set_binding(vip < kVips.size() - kEarlyVips ? link::BIND_LATE : link::BIND_EARLY);
        service.clear_addresses();
        service.clear_routes();
        const Address address = test::address(kVips[vip]);
        const bool ipv6 = kVips[vip].find(':') != std::string::npos;
        service.add_addresses(std::string(address.begin() + (ipv6 ? 0 : 12), address.end()));
        auto& pools = drawn.pools[kVips[vip]];
        draw_pool(*service.mutable_blade_ids(), there, pools);
        if (!one_in(2)) return;
        link::Route& route = *service.add_routes();
        route.set_server_name("www.keyrail.test");
        draw_pool(*route.mutable_blade_ids(), there, pools);
    }

    std::mt19937 random_;
};

/// One connection: what it sends, and where that arrived.
struct Connection {
    std::string vip;
    bool early;
    Client client;
    std::vector<uint8_t> hello;
    size_t sent = 0, arrived = 0;
    uint16_t blade = 0;        // that has it; 0: none yet, or that is gone
    std::set<uint16_t> had;    // that ever got a segment of it: a flow lives on when its blade comes back
    bool lost = false;         // bound early, and its blade died: no other blade knows it
    bool interrupted = false;  // its service or its blade was gone for a while: TCP has to repeat something
};

class ReloadStress : public testing::Test {
  protected:
    Harness harness{Scene{.up = {1, 2, 3, 4, 5, 6, 7, 8}, .holds = 48}};
    Drawing draw{std::getenv("KR_SEED") != nullptr ? static_cast<uint32_t>(std::atoi(std::getenv("KR_SEED")))
                                                   : 1};
    Configuration now;
    std::map<uint16_t, Connection> connections;  // by client port
    std::vector<MoveAsk> asks;
    uint16_t next_port = 10'000;
    size_t completed = 0;

    void change() {
        now = draw.configuration();
        harness.publish(now.message);
        for (auto& [port, connection] : connections) {
            if (!now.served(connection.vip)) connection.interrupted = true;
            if (connection.blade != 0 && !now.lives(connection.blade)) {
                connection.interrupted = true;
                connection.lost |= connection.early;
                connection.blade = 0;
            }
        }
    }

    void connect() {
        const std::string& vip = kVips[draw.below(kVips.size())];
        if (!now.served(vip)) return;
        const uint16_t port = next_port++;
        const bool early = std::ranges::find(kVips, vip) >= kVips.end() - kEarlyVips;
        const bool tls13 = draw.one_in(2);
        auto hello = client_hello({.max_version = tls13 ? TlsVersion::tls13 : TlsVersion::tls12,
                                   .name = Harness::name(static_cast<uint16_t>(1 + draw.below(kBlades)),
                                                         static_cast<uint8_t>(draw.below(200))),
                                   .padding = 200 + draw.below(400),
                                   .post_quantum = draw.one_in(2)});
        Connection& made =
            connections.emplace(port, Connection{vip, early, Client(harness, port, vip), std::move(hello)})
                .first->second;
        if (!early) return made.client.syn();
        harness.burst(kFront, {made.client.segment({}, UINT32_MAX, kSyn).frame()});
        harness.burst(kFront, {made.client.segment().frame()});
    }
    /// The next piece of a connection's hello.
    void send(Connection& connection) {
        const size_t left = connection.hello.size() - connection.sent;
        if (left == 0) return;
        const size_t most = std::min(left, connection.client.full_segment());
        const size_t size = draw.one_in(2) ? most : 1 + draw.below(static_cast<uint32_t>(most));
        const Frame frame =
            connection.client.data(cut(connection.hello, connection.sent, connection.sent + size),
                                   static_cast<uint32_t>(connection.sent));
        connection.sent += size;
        harness.burst(kFront, {frame});
    }
    void answer_one() {
        if (asks.empty()) return;
        const size_t which = draw.below(static_cast<uint32_t>(asks.size()));
        const MoveAsk ask = asks[which];
        asks.erase(asks.begin() + static_cast<ptrdiff_t>(which));
        if (draw.one_in(4))
            return harness.answer_elsewhere(ask, static_cast<uint16_t>(1 + draw.below(kBlades)));
        harness.answer(ask, draw.one_in(2));
    }
    void step() {
        switch (draw.below(6)) {
            case 0:
                return connect();
            case 1:
                return answer_one();
            case 2:
                return harness.advance(draw.below(8'000));
            default:
                if (connections.empty()) return;
                auto at = connections.begin();
                std::advance(at, draw.below(static_cast<uint32_t>(connections.size())));
                return send(at->second);
        }
    }
    /// Where everything went.
    void collect() {
        for (const MoveAsk& ask : harness.asks()) asks.push_back(ask);
        for (const Frame& frame : harness.wire(kBack)) {
            const Headers h = parse_headers(frame);
            Connection& connection = connections.at(h.tuple.source_port);
            const uint16_t blade = destination(frame).back();
            connection.arrived += h.payload_size;
            if (connection.blade == blade || connection.lost) continue;
            ASSERT_TRUE(connection.blade == 0 || connection.interrupted)
                << connection.vip << ": blade " << connection.blade << " has it, a segment went to " << blade;
            ASSERT_TRUE(now.serves(connection.vip, blade) || connection.had.contains(blade))
                << connection.vip << ": blade " << blade << " is not its service's";
            connection.blade = blade;
            connection.had.insert(blade);
        }
        harness.wire(kFront);
        harness.kernel(kFront);
        harness.expect_conserved();
    }
    /// Those whose service was there all the time have lost nothing.
    void finish_old() {
        while (connections.size() > 10) {
            Connection& connection = connections.begin()->second;
            while (connection.sent < connection.hello.size()) send(connection);
            for (int i = 0; i < 4; i++) harness.advance(30'000);
            collect();
            if (!connection.interrupted) {
                ASSERT_EQ(connection.arrived, connection.hello.size()) << connection.vip;
                completed++;
            }
            connections.erase(connections.begin());
        }
    }
};

TEST_F(ReloadStress, AThousandSnapshotsWhileClientsConnect) {
    constexpr int kChanges = 1000, kSteps = 8;
    change();
    for (int i = 0; i < kChanges && !HasFatalFailure(); i++) {
        SCOPED_TRACE(i);
        for (int k = 0; k < kSteps && !HasFatalFailure(); k++) {
            step();
            collect();
        }
        if (!HasFatalFailure()) finish_old();
        change();
    }
    for (int i = 0; i < 8; i++) harness.advance(1'000'000);
    EXPECT_EQ(harness.held(), 0u);
    EXPECT_EQ(harness.context().holds_table.in_use(), 0u);
    harness.expect_conserved();
    // What this test is about did happen.
    EXPECT_GT(completed, 50u);
    for (const Reason reason : {Reason::drop_service_gone, Reason::steer_move, Reason::steer_move_failed,
                                Reason::steer_move_late, Reason::steer_home, Reason::bind_early})
        EXPECT_GT(harness.count(reason), 0u) << kReasonTexts[static_cast<size_t>(reason)].name;
}

}  // namespace
}  // namespace keyrail
