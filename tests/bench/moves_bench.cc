// SPDX-License-Identifier: Apache-2.0
// Moves between real processes: keyraild and two agents over loopback; this program plays the dataplane and
// fills the stores. First one move at a time (latency; also with cores that may sleep, and with busy_poll),
// then single ones after pauses, and where their time goes; then many at once (sustained rate). Prints one
// line of JSON. Usage: moves_bench [sessions=20000] [in flight=256] | moves_bench sporadic
#include <httplib.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>
#include <unordered_map>

#include "dataplane/common/histogram.h"
#include "tests/support/arrival_listener.h"
#include "tests/support/real_chassis.h"

namespace keyrail {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration_cast;
using std::chrono::microseconds;

/// CPU time that a process has used so far, from /proc: in ticks of 10 ms.
double cpu_seconds(pid_t pid) {
    std::ifstream stream(fmt::format("/proc/{}/stat", pid));
    std::string field;
    std::vector<std::string> fields;
    while (stream >> field) fields.push_back(field);
    return (std::stod(fields.at(13)) + std::stod(fields.at(14))) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class MovesBench {
  public:
    explicit MovesBench(uint64_t sessions, const std::string& settings = "")
        : sessions_(sessions), chassis_(3, 160, settings) {
        chassis_.start_all();
        for (uint64_t i = 0; i < sessions_; i++) names_.push_back(chassis_.put(1, i));
    }

    /// Moves every session, `in_flight` at a time; each again from the dataplane's view: request to outcome.
    nlohmann::json run(uint64_t count, uint64_t in_flight, BladeId from, BladeId to) {
        const std::array<double, 3> before = cpu();
        const auto begin = Clock::now();
        Histogram latency;
        uint64_t asked = 0, moved = 0, failed = 0;
        while (moved + failed < count) {
            while (asked < count && started_.size() < in_flight) {
                started_[++move_id_] = Clock::now();
                chassis_.request_move(move_id_, names_[asked++], from, to, kBudgetUs, arrival(move_id_));
            }
            wait();
            while (const auto arrived = arrivals_.take()) moved += ended(arrived->move_id, latency);
            chassis_.dataplane->poll();
            for (const auto& message : std::exchange(chassis_.dataplane->received, {}))
                if (message.has_move_outcome() && ended(message.move_outcome().move_id(), latency))
                    (message.move_outcome().result() == link::MOVED ? moved : failed)++;
        }
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        const std::array<double, 3> after = cpu();
        nlohmann::json report = {{"moves", count},
                                 {"in_flight", in_flight},
                                 {"failed", failed},
                                 {"moves_per_s", static_cast<uint64_t>(static_cast<double>(count) / seconds)},
                                 {"p50_us", latency.quantile(0.5).count()},
                                 {"p99_us", latency.quantile(0.99).count()},
                                 {"p999_us", latency.quantile(0.999).count()}};
        for (size_t i = 0; i < 3; i++)
            report["cpu_us_per_move"][std::array{"keyraild", "holder", "target"}[i]] =
                std::round((after[i] - before[i]) * 1e7 / static_cast<double>(count)) / 10;
        return report;
    }

    /// As a client now and then asks for them: each alone, after a pause; and where their time goes.
    nlohmann::json sporadic(uint64_t count, std::chrono::milliseconds pause, BladeId from, BladeId to) {
        Histogram latency;
        uint64_t failed = 0;
        for (uint64_t i = 0; i < count; i++) {
            std::this_thread::sleep_for(pause);
            const auto asked = Clock::now();
            failed += move_one(names_[i], from, to) ? 0 : 1;
            latency.add(duration_cast<microseconds>(Clock::now() - asked));
        }
        nlohmann::json report = {{"moves", count},
                                 {"pause_ms", pause.count()},
                                 {"failed", failed},
                                 {"p50_us", latency.quantile(0.5).count()},
                                 {"p99_us", latency.quantile(0.99).count()}};
        httplib::Client api(chassis_.socket().string());
        api.set_address_family(AF_UNIX);
        const auto stats = api.Get("/v1/stats");
        if (stats)
            for (const auto& stage : nlohmann::json::parse(stats->body)["moves"]["stages"])
                report["stages"][stage["name"].get<std::string>()] = {stage["p50_us"], stage["p99_us"]};
        return report;
    }

    /// All sessions of blade 2 go to blade 1, while bystanders are moved there and back between 1 and 3.
    nlohmann::json drain(uint32_t rate) {
        const SessionName bystander = chassis_.put(3, sessions_ + 1);
        const uint64_t before = chassis_.stores.at(2).stats().sessions;
        httplib::Client api(chassis_.socket().string());
        api.set_address_family(AF_UNIX);
        const auto begin = Clock::now();
        (void)api.Post("/v1/blades/2/drain", nlohmann::json{{"rate", rate}}.dump(), "application/json");
        Histogram latency;
        uint64_t failed = 0;
        const auto other = [](BladeId at) { return BladeId::or_none(4u - at); };
        for (BladeId at = 3; chassis_.stores.at(2).stats().sessions > 0; at = other(at)) {
            const auto asked = Clock::now();
            failed += move_one(bystander, at, other(at)) ? 0 : 1;
            latency.add(duration_cast<microseconds>(Clock::now() - asked));
        }
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        const uint64_t after =
            chassis_.stores.at(1).stats().sessions + chassis_.stores.at(3).stats().sessions;
        return {{"sessions", before},
                {"rate", rate},
                {"seconds", seconds},
                {"moves_per_s", static_cast<uint64_t>(static_cast<double>(before) / seconds)},
                {"lost", static_cast<int64_t>(before + 1) - static_cast<int64_t>(after)},
                {"bystanders", latency.count()},
                {"bystanders_failed", failed},
                {"bystander_p50_us", latency.quantile(0.5).count()},
                {"bystander_p99_us", latency.quantile(0.99).count()}};
    }

  private:
    static constexpr uint32_t kBudgetUs = 1'000'000;
    /// As a worker does: whichever word of it comes first, the agent's or keyraild's, ends the wait.
    [[nodiscard]] Arrival arrival(uint64_t move) const { return {move, move, arrivals_.port()}; }
    void wait() const {
        std::array<pollfd, 2> wanted{
            {{arrivals_.descriptor(), POLLIN, 0}, {chassis_.dataplane->descriptor(), POLLIN, 0}}};
        ::poll(wanted.data(), wanted.size(), 1000);
    }
    bool ended(uint64_t move, Histogram& latency) {
        const auto started = started_.find(move);
        if (started == started_.end()) return false;  // the other word came before
        latency.add(duration_cast<microseconds>(Clock::now() - started->second));
        started_.erase(started);
        return true;
    }
    bool move_one(const SessionName& name, BladeId from, BladeId to) {
        move_id_++;
        chassis_.request_move(move_id_, name, from, to, kBudgetUs, arrival(move_id_));
        for (;;) {
            wait();
            while (const auto arrived = arrivals_.take())
                if (arrived->move_id == move_id_) return true;
            chassis_.dataplane->poll();
            for (const auto& message : std::exchange(chassis_.dataplane->received, {}))
                if (message.has_move_outcome() && message.move_outcome().move_id() == move_id_)
                    return message.move_outcome().result() == link::MOVED;
        }
    }
    [[nodiscard]] std::array<double, 3> cpu() const {
        return {cpu_seconds(chassis_.daemon->pid()), cpu_seconds(chassis_.agents.at(1)->pid()),
                cpu_seconds(chassis_.agents.at(2)->pid())};
    }

    uint64_t sessions_;
    testing::RealChassis chassis_;
    testing::ArrivalListener arrivals_;
    std::vector<SessionName> names_;
    std::unordered_map<uint64_t, Clock::time_point> started_;
    uint64_t move_id_ = 0;
};

}  // namespace
}  // namespace keyrail

constexpr const char* kAsleep = "stay_awake = \"0s\"\n";
constexpr const char* kBusyPoll = "stay_awake = \"0s\"\nbusy_poll = \"200us\"\n";

/// Each its own chassis: the stages are of all its moves.
void sporadic(uint64_t some, nlohmann::json& report) {
    for (const int pause_ms : {5, 20, 100})
        report[fmt::format("sporadic_{}ms", pause_ms)] = keyrail::MovesBench(some).sporadic(
            std::min<uint64_t>(some, pause_ms == 100 ? 100 : 200), std::chrono::milliseconds(pause_ms), 1, 2);
}

int main(int argc, char** argv) {
    nlohmann::json report;
    if (argc > 1 && std::string_view(argv[1]) == "sporadic") {
        sporadic(200, report);
        std::printf("%s\n", report.dump().c_str());
        return 0;
    }
    const uint64_t sessions = argc > 1 ? std::stoull(argv[1]) : 20'000;
    const uint64_t in_flight = argc > 2 ? std::stoull(argv[2]) : 256;
    const uint64_t some = std::min<uint64_t>(sessions, 5000);
    report["one_at_a_time_asleep"] = keyrail::MovesBench(some, kAsleep).run(some, 1, 1, 2);
    report["one_at_a_time_busy_poll"] = keyrail::MovesBench(some, kBusyPoll).run(some, 1, 1, 2);
    sporadic(some, report);
    keyrail::MovesBench bench(sessions);
    report["one_at_a_time"] = bench.run(some, 1, 1, 2);
    bench.run(some, in_flight, 2, 1);
    report["sustained"] = bench.run(sessions, in_flight, 1, 2);
    if (argc > 3 && std::stoul(argv[3]) > 0)
        report["drain"] = bench.drain(static_cast<uint32_t>(std::stoul(argv[3])));
    std::printf("%s\n", report.dump().c_str());
}
