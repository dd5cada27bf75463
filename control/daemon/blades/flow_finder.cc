// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/blades/flow_finder.h"

#include <algorithm>

#include "chassis.pb.h"
#include "link.pb.h"

namespace keyrail {

using chassis::FlowsFound;

namespace {

bool makes_sense(const link::FlowAsk& ask) {
    const auto is_port = [](uint32_t port) { return port >= 1 && port <= UINT16_MAX; };
    const size_t size = ask.client().size();
    return (size == 4 || size == 16) && ask.address().size() == size && is_port(ask.client_port()) &&
           is_port(ask.port());
}

}  // namespace

void FlowFinder::doubt(Question& question, BladeId blade) {
    question.doubtful++;
    question.doubtful_one = blade;
}

/// One that is late gives way, if all places are taken.
bool FlowFinder::make_room() {
    if (questions_.size() < kMax) return true;
    const auto late = std::ranges::find_if(questions_, [](const auto& entry) { return entry.second.late; });
    if (late == questions_.end()) return false;
    questions_.erase(late);
    return true;
}

bool FlowFinder::ask(const link::FlowAsk& ask, const std::vector<BladeId>& able,
                     const std::vector<BladeId>& doubtful, Time now) {
    if (!makes_sense(ask) || !make_room()) return false;
    const uint64_t id = ++last_id_;
    const std::chrono::microseconds time(uint64_t{ask.budget_us()} * 2 / 3);
    Question question{ask.ask_id(), now + time, able, doubtful.size(),
                      doubtful.empty() ? BladeId{} : doubtful.back()};
    if (able.empty()) {
        conclude(question);
        return true;
    }
    questions_.emplace(id, std::move(question));
    for (const BladeId blade : able) {
        auto& messages = unsent_[blade];
        if (messages.empty() || messages.back().find_flows().flows_size() == kBatch) messages.emplace_back();
        auto& flow = *messages.back().mutable_find_flows()->add_flows();
        flow.set_id(id);
        flow.set_client(ask.client());
        flow.set_client_port(ask.client_port());
        flow.set_address(ask.address());
        flow.set_port(ask.port());
    }
    return true;
}

void FlowFinder::flush() {
    for (auto& [blade, messages] : std::exchange(unsent_, {})) {
        bool sent = true;
        for (chassis::Envelope& message : messages) sent = sent && out_.send(blade, std::move(message));
        if (!sent) lost(blade);
    }
}

void FlowFinder::answer(const Question& question, BladeId blade, bool time_wait) {
    link::FlowAnswer answer;
    answer.set_ask_id(question.ask_id);
    answer.set_blade(blade);
    answer.set_time_wait(time_wait);
    out_.answer(answer);
}

bool FlowFinder::conclude(const Question& question) {
    if (!question.has_answer()) return false;
    if (question.present != 0) {
        answer(question, question.present, false);
    } else if (question.silent() == 0) {
        answer(question, question.time_wait, question.time_wait != 0);
    } else {
        answer(question, question.waiting.empty() ? question.doubtful_one : question.waiting.front(), false);
    }
    return true;
}

void FlowFinder::has_it(Question& question, BladeId blade, uint32_t heard_ms) {
    if (question.present != 0 && question.heard_ms <= heard_ms) return;
    question.present = blade;
    question.heard_ms = heard_ms;
}

/// True: the question is over.
bool FlowFinder::answered(Question& question, BladeId blade, int presence, uint32_t heard_ms) {
    if (std::erase(question.waiting, blade) == 0) return false;  // it was not asked, or says so twice
    switch (presence) {
        case FlowsFound::TIME_WAIT:
            question.time_wait = blade;
            break;
        case FlowsFound::PRESENT:
            has_it(question, blade, heard_ms);
            break;
        case FlowsFound::ABSENT:
            break;
        default:
            doubt(question, blade);
    }
    if (!question.waiting.empty() && !(question.late && question.has_answer())) return false;
    conclude(question);
    return true;
}

void FlowFinder::found(BladeId blade, const chassis::FlowsFound& found) {
    for (const auto& said : found.answers()) {
        const auto question = questions_.find(said.id());
        if (question == questions_.end()) continue;  // it was too late
        if (answered(question->second, blade, said.presence(), said.heard_ms())) questions_.erase(question);
    }
}

void FlowFinder::forget() {
    questions_.clear();
    unsent_.clear();
}

void FlowFinder::lost(BladeId blade) {
    for (auto question = questions_.begin(); question != questions_.end();)
        question = answered(question->second, blade, FlowsFound::UNKNOWN, 0) ? questions_.erase(question)
                                                                             : std::next(question);
}

/// One that has no answer in time becomes late, once, while somebody may still speak.
bool FlowFinder::is_over(Question& question, Time now) {
    if (question.deadline > now) return false;
    if (conclude(question) || question.waiting.empty() || question.late) return true;
    question.late = true;
    question.deadline = now + kLate;
    return false;
}

void FlowFinder::tick(Time now) {
    for (auto entry = questions_.begin(); entry != questions_.end();)
        entry = is_over(entry->second, now) ? questions_.erase(entry) : std::next(entry);
}

}  // namespace keyrail
