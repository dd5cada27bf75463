// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/blades/flow_questions.h"

#include "chassis.pb.h"
#include "link.pb.h"

namespace keyrail {

using Clock = std::chrono::steady_clock;

FlowQuestions::FlowQuestions(const asio::any_io_executor& executor, const Blades& blades, Agents& agents,
                             std::function<void(const link::FlowAnswer&)> answer)
    : blades_(blades),
      agents_(agents),
      finder_({[this](BladeId blade, chassis::Envelope message) {
                   return agents_.send(blade, std::move(message)).has_value();
               },
               std::move(answer)}),
      timer_(executor) {}

/// Any blade may have it, also one that is in no pool of the service any more.
void FlowQuestions::ask(const link::FlowAsk& ask) {
    constexpr size_t kMaxAsked = 256;  // blades
    std::vector<BladeId> able, doubtful;
    for (const auto& [id, blade] : blades_.all()) {
        if (blade.gone) continue;
        if (agents_.connected(id) && able.size() < kMaxAsked)
            able.push_back(id);
        else if (blades_.has_taken(id))
            doubtful.push_back(id);
    }
    for (const auto& [id, blade] : blades_.left())
        if (!blade.gone) doubtful.push_back(id);
    if (!finder_.ask(ask, able, doubtful, Clock::now()) || timer_.running()) return;
    timer_.after(std::chrono::microseconds(0), [this] { send(); });
}

/// What was asked in one moment goes out together.
void FlowQuestions::send() {
    constexpr std::chrono::milliseconds kPoll{5};
    finder_.flush();
    finder_.tick(Clock::now());
    if (finder_.pending()) timer_.after(kPoll, [this] { send(); });
}

}  // namespace keyrail
