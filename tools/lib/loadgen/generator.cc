// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/generator.h"

#include <rte_cycles.h>
#include <rte_pause.h>

namespace keyrail::loadgen {
namespace {

constexpr double kIntervals = 10;        // of a measurement
constexpr double kDrainSeconds = 5;      // longer than all tries of one segment
constexpr double kQuietSeconds = 0.005;  // then the last packets have arrived, too
constexpr double kLateSeconds = 0.001;

/// Rings in shared memory are cache lines that their writer must get back after each look at them: 0.3 us
/// between looks leave it alone.
void rest() {
    for (int i = 0; i < 8; i++) rte_pause();
}

}  // namespace

Generator::Generator(const Options& options, const Script& script, Port& front, Port& back, rte_mempool* pool)
    : options_(options),
      front_(front),
      back_(back),
      clients_(options, script, front, pool, report_, window_),
      blades_(options, script, back, report_),
      schedule_(options.rate, options.to_rate, options.warm_up, options.seconds),
      hz_(static_cast<double>(rte_get_tsc_hz())) {}

uint64_t Generator::ticks(double seconds) const { return static_cast<uint64_t>(seconds * hz_); }

void Generator::read_clock() {
    clock_.tsc = rte_rdtsc();
    clock_.ms = static_cast<uint32_t>(static_cast<double>(clock_.tsc) / hz_ * 1000);
}

void Generator::start_due() {
    for (unsigned i = 0; i < Port::kBurst && clients_.can_start(); i++) {
        uint64_t due = clock_.tsc;  // closed loop: whenever there is a free one
        if (options_.rate > 0) {
            due = begin_ + ticks(schedule_.when(static_cast<double>(report_.counts.started)));
            if (due > clock_.tsc || due >= window_.to) return;
            if (clock_.tsc - due > ticks(kLateSeconds)) report_.counts.late++;
        }
        clients_.start(due, clock_);
    }
}

void Generator::end_interval(const std::function<void(const Interval&)>& on_interval) {
    const Histogram lives = clients_.take_lives();
    const Counts& now = report_.counts;
    const double seconds = static_cast<double>(clock_.tsc - begin_) / hz_;
    const Interval interval{.seconds = seconds - options_.warm_up,
                            .rate = options_.rate > 0 ? schedule_.rate(seconds) : 0,
                            .started = now.started - at_last_interval_.started,
                            .completed = now.completed - at_last_interval_.completed,
                            .failed = now.failures() - at_last_interval_.failures(),
                            .p50_ns = lives.quantile(0.5),
                            .p99_ns = lives.quantile(0.99)};
    at_last_interval_ = now;
    if (interval.seconds < options_.seconds / kIntervals / 2) return;  // that was the warm-up
    report_.intervals.push_back(interval);
    on_interval(interval);
}

bool Generator::turn(bool starting) {
    bool worked = clients_.poll(clock_);
    worked |= blades_.poll(clock_);
    if (starting) start_due();
    clients_.sweep(clock_);
    front_.flush();
    back_.flush();
    return worked;
}

Report Generator::run(const std::atomic<bool>& stop,
                      const std::function<void(const Interval&)>& on_interval) {
    read_clock();
    begin_ = clock_.tsc;
    window_ = {begin_ + ticks(options_.warm_up), begin_ + ticks(options_.warm_up + options_.seconds)};
    const uint64_t step = ticks(options_.seconds / kIntervals), give_up = window_.to + ticks(kDrainSeconds);
    uint64_t next = window_.from, busy = 0, last_work = begin_;
    const auto over = [&] { return clients_.idle() && clock_.tsc - last_work > ticks(kQuietSeconds); };
    for (bool starting = true, worked = false; clock_.tsc < give_up && (starting || !over());) {
        const uint64_t before = clock_.tsc;
        read_clock();
        if (worked) busy += clock_.tsc - before;
        if (clock_.tsc >= next && next <= window_.to) {
            end_interval(on_interval);
            next += step;
        }
        worked = turn(starting);
        if (worked)
            last_work = clock_.tsc;
        else
            rest();
        if (stop.load(std::memory_order_relaxed)) window_.to = std::min(window_.to, clock_.tsc);
        starting = clock_.tsc < window_.to;
    }
    return finished(static_cast<double>(busy) / static_cast<double>(clock_.tsc - begin_));
}

Report Generator::finished(double busy) {
    clients_.stop();
    report_.seconds = window_.to > window_.from ? static_cast<double>(window_.to - window_.from) / hz_ : 0;
    report_.busy = busy;
    report_.front = {front_.received(), front_.sent(), front_.refused()};
    report_.back = {back_.received(), back_.sent(), back_.refused()};
    return report_;
}

}  // namespace keyrail::loadgen
