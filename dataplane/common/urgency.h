// SPDX-License-Identifier: Apache-2.0
// A thread for which clients wait (it moves their sessions) runs before everything of normal priority: to be
// woken beside a busy neighbour takes microseconds, not the neighbour's time slice of milliseconds.
//
// It has a budget: a share of one CPU. Who spends more (a drain, a flood, an endless loop) is a thread like
// any other until it has paid that back, so nothing else starves.
#pragma once

#include <sched.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace keyrail {

/// The budget alone. Pure: times come in, in nanoseconds.
class UrgencyBudget {
  public:
    /// `share` of a CPU, saved up for at most `burst_ns`.
    constexpr UrgencyBudget(double share, int64_t burst_ns)
        : share_(share), burst_ns_(burst_ns), left_ns_(burst_ns) {}

    /// So much time has passed since the last call, of which the thread had the CPU for `used_ns`. May it be
    /// urgent?
    constexpr bool spend(int64_t passed_ns, int64_t used_ns) {
        const double earned = share_ * static_cast<double>(passed_ns);
        const int64_t most = 2 * burst_ns_;  // from deepest in debt to all there is
        left_ns_ += (earned > static_cast<double>(most) ? most : static_cast<int64_t>(earned)) - used_ns;
        if (left_ns_ > burst_ns_) left_ns_ = burst_ns_;
        if (left_ns_ < -burst_ns_) left_ns_ = -burst_ns_;  // what was long ago is forgiven
        if (left_ns_ < 0) urgent_ = false;
        if (left_ns_ > burst_ns_ / 2) urgent_ = true;
        return urgent_;
    }

  private:
    double share_;
    int64_t burst_ns_, left_ns_;
    bool urgent_ = true;
};

/// The first thing in a thread that somebody else has started: from one that was urgent it has the core
/// (priorities are not handed on). From now on it runs wherever the process may.
void run_anywhere();

/// Of the thread that makes it, and that alone may call it. Its children and threads that it starts are of
/// normal priority.
class Urgency {
  public:
    static constexpr std::chrono::milliseconds kBurst{20};

    /// `core`: as long as it is urgent, the thread runs there alone: whom it wakes, and who wakes it, need no
    /// other core for that if they are there, too. One that the process may not use is as none.
    explicit Urgency(double share, std::optional<unsigned> core = std::nullopt);
    ~Urgency();
    Urgency(const Urgency&) = delete;
    Urgency& operator=(const Urgency&) = delete;

    /// After each wake-up's work, or now and then.
    void look();

    /// What the kernel allowed: "real-time", "nice -20" or "normal priority", and the core.
    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] bool urgent() const { return urgent_; }

  private:
    enum class Means : uint8_t { real_time, nice, none };
    bool set(bool urgent);
    void gather(bool urgent) const;

    cpu_set_t anywhere_{}, there_{};  // equal: no core was asked for
    Means means_ = Means::none;
    UrgencyBudget budget_;
    bool urgent_ = false;
    int64_t last_ns_ = 0, last_cpu_ns_ = 0;
    std::string text_;
};

}  // namespace keyrail
