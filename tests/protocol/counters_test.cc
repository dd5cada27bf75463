// SPDX-License-Identifier: Apache-2.0
// Counters are declared once: what keyrail-dp and keyraild count, the API's JSON, the metrics and the
// operator's command all name the same ones.
#include <asio/local/stream_protocol.hpp>
#include <asio/write.hpp>

#include <set>
#include <sstream>

#include "control/daemon/api/counters.h"
#include "tests/support/keyraild_bench.h"

namespace keyrail {
namespace {

using testing::KeyraildBench;
using Names = std::set<std::string>;

/// "moves/late": of what, and its name.
std::string key(std::string_view of, std::string_view name) { return fmt::format("{}/{}", of, name); }

template <typename Counters>
void add(Names& names, std::string_view of, const Counters& counters) {
    for (const auto& counter : counters) names.insert(key(of, counter.text.name));
}

Names declared() {
    Names names;
    for (const ReasonText& reason : kReasonTexts) names.insert(key("reasons", reason.name));
    add(names, "workers", kWorkerCounters);
    add(names, "ports", kPortCounters);
    names.insert(key("blades", kBladeFlows.name));
    add(names, "blades", kBladeCounters);
    add(names, "blades", kBladeHandshakes);
    for (const CounterText& result : kMoveResultTexts) names.insert(key("moves", result.name));
    names.insert(key("moves", kMovesUnderWay.name));
    add(names, "moves", kMoveCounters);
    names.insert(key("holds", kHoldsLonger.name));
    add(names, "checkpoints", kCheckpointCounters);
    add(names, "repositories", kRepositoryCounters);
    return names;
}

class Counters : public KeyraildBench {
  protected:
    Counters() { write_config(good_config() + "repository = \"lmdb\"\n"); }

    /// Every counter of keyrail-dp's, each with a number of its own.
    void count_all() {
        link::WorkerStats& worker = *dataplane->stats.add_workers();
        for (const WorkerCounter& counter : kWorkerCounters) put(*worker.add_counters(), counter.text.name);
        for (const ReasonText& reason : kReasonTexts) put(*worker.add_counters(), reason.name);
        link::PortStats& wire = *dataplane->stats.add_ports();
        wire.set_name("front0");
        for (const PortCounter& counter : kPortCounters) put(*wire.add_counters(), counter.text.name);
        auto& blade = *dataplane->stats.add_blades();
        blade.set_id(1);
        blade.set_flows_bound(++last_);
        link::HoldWaits& holds = *dataplane->stats.add_holds();
        holds.set_service("www");
        holds.set_tls_version(0x0303);
        holds.mutable_waited()->add_bucket(100);
        holds.mutable_waited()->add_count(3);
        holds.set_longer(++last_);
    }
    std::string scrape() {
        const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        asio::local::stream_protocol::socket socket(io);
        socket.connect((run_dir / "keyraild.sock").string());
        asio::write(socket, asio::buffer(request));
        socket.non_blocking(true);
        std::string text;
        std::array<char, 4096> buffer{};
        const auto read = [&] {
            asio::error_code error;
            while (!error) text.append(buffer.data(), socket.read_some(asio::buffer(buffer), error));
            return error != asio::error::would_block;
        };
        EXPECT_TRUE(until(read, 10'000)) << text;
        return text;
    }
    /// Where the API has this counter's value.
    static nlohmann::json value(const nlohmann::json& stats, const std::string& of, const std::string& name) {
        if (of == "ports" || of == "blades" || of == "holds")
            return stats[of][0].value(name, nlohmann::json());
        if (of == "workers") return stats["workers"][0]["counters"].value(name, nlohmann::json());
        if (of == "repositories")
            return stats["checkpoints"]["repositories"]["lmdb"].value(name, nlohmann::json());
        return stats[of].value(name, nlohmann::json());
    }

  private:
    void put(link::Counter& counter, std::string_view name) {
        counter.set_name(std::string(name));
        counter.set_value(++last_);
    }
    uint64_t last_ = 0;
};

TEST_F(Counters, TheApiHasEachWithItsMeaningAndItsValue) {
    start_whole();
    count_all();
    const nlohmann::json stats = keyrail({"stats"}).json;
    Names named;
    for (const auto& counter : stats["counters"]) {
        const std::string of = counter["of"], name = counter["name"];
        EXPECT_TRUE(named.insert(key(of, name)).second) << "twice: " << key(of, name);
        EXPECT_TRUE(value(stats, of, name).is_number_unsigned()) << key(of, name);
        EXPECT_FALSE(counter["unit"].get<std::string>().empty()) << key(of, name);
        EXPECT_FALSE(counter["meaning"].get<std::string>().empty()) << key(of, name);
    }
    EXPECT_EQ(named, declared());
}

TEST_F(Counters, TheCommandShowsEach) {
    start_whole();
    count_all();
    const auto shown = keyrail_for_people({"stats", "--all"});
    ASSERT_EQ(shown.status, 0) << shown.text;
    const std::map<std::string, std::string> kTitles = {{"REASON", "reasons"},
                                                        {"WORKERS", "workers"},
                                                        {"MOVES", "moves"},
                                                        {"SESSIONS", "checkpoints"},
                                                        {"REPOSITORY", "repositories"}};
    Names named;
    std::string of;
    std::istringstream lines(shown.text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string first, second;
        words >> first >> second;
        if (first == "PORT" || first == "BLADE") {  // a column each
            std::string name;
            if (first == "BLADE") words >> name;  // NEIGHBOUR
            while (words >> name) named.insert(key(first == "PORT" ? "ports" : "blades", name));
        } else if (first == "SERVICE") {
            for (std::string word; words >> word;)
                if (word == kHoldsLonger.name) named.insert(key("holds", word));
            of.clear();
        } else if (first == "COUNT") {
            ASSERT_TRUE(kTitles.contains(second)) << line;
            of = kTitles.at(second);
        } else if (!of.empty() && !first.empty() && std::ranges::all_of(first, isdigit)) {
            named.insert(key(of, second));
        } else {
            of.clear();
        }
    }
    EXPECT_EQ(named, declared());
    EXPECT_THAT(shown.text, ::testing::HasSubstr("connections whose ClientHello is held"));

    const auto short_one = keyrail_for_people({"stats"});
    EXPECT_THAT(short_one.text, ::testing::Not(::testing::HasSubstr("announced_in_vain"))) << "it is zero";
}

/// "keyrail_moves_late_total": as which metric a counter is seen.
std::string metric_of(std::string_view of, const CounterText& counter) {
    return fmt::format("keyrail_{}_{}{}", of, counter.name,
                       counter.kind == CounterKind::gauge ? "" : "_total");
}

TEST_F(Counters, MetricsHaveEachWithTheSameWords) {
    start_whole();
    count_all();
    const std::string text = scrape();
    const auto expect = [&](const std::string& sample, const std::string& help) {
        EXPECT_THAT(text, ::testing::HasSubstr("\n" + sample)) << sample;
        EXPECT_THAT(text, ::testing::HasSubstr(help)) << sample;
    };
    const auto each = [&](std::string_view of, const auto& counters, const std::string& labels) {
        for (const auto& counter : counters)
            expect(metric_of(of, counter.text) + labels, std::string(counter.text.meaning) + "\n");
    };
    for (const ReasonText& reason : kReasonTexts)
        expect(fmt::format("keyrail_packets_total{{worker=\"0\",reason=\"{}\"}} ", reason.name), "");
    expect(metric_of("blade", kBladeFlows) + "{blade=\"1\"} ", std::string(kBladeFlows.meaning) + "\n");
    each("blade", kBladeCounters, "{blade=\"1\"} ");
    for (const BladeCounter& result : kBladeHandshakes)
        expect(fmt::format("keyrail_blade_handshakes_total{{blade=\"1\",result=\"{}\"}} ", result.text.name),
               "");
    for (const CounterText& result : kMoveResultTexts)
        expect(fmt::format("keyrail_moves_total{{result=\"{}\"}} ", result.name), "");
    expect(metric_of("moves", kMovesUnderWay) + " ", std::string(kMovesUnderWay.meaning));
    each("worker", kWorkerCounters, "{worker=\"0\"} ");
    each("port", kPortCounters, "{port=\"front0\"} ");
    each("moves", kMoveCounters, " ");
    expect(metric_of("hold", kHoldsLonger) + "{service=\"www\",tls_version=\"1.2\"} ",
           std::string(kHoldsLonger.meaning));
    each("checkpoints", kCheckpointCounters, " ");
    each("repository", kRepositoryCounters, "{kind=\"lmdb\"} ");
}

}  // namespace
}  // namespace keyrail
