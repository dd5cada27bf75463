// SPDX-License-Identifier: Apache-2.0
// Whose is a connection that keyrail-dp does not know (link.FlowAsk)? The agents of all blades that may have
// it look into their kernels. Nobody has it when all have said so. Several may: a blade does not hear that a
// client has gone whose last word was lost, and its port is used again. So all are waited for, as long as
// there is time; it is the one's whose client was heard last. Where nobody has it and one cannot say, it is
// that one's: either it is right, or the client is told by a kernel that knows nothing of it. One in
// TIME_WAIT is over, and counts only when all have spoken: its kernel lets a client wait whose connection is
// elsewhere. Where several cannot say, there is no answer, and keyrail-dp guesses; what they say within kLate
// after that corrects it: after an outage the ways to them lie idle until TCP sends again.
//
// Pure: who can be asked and the time come in, messages go out. Bounded: kMax questions at once, each for
// two thirds of its budget, and those that are late, which give way to new ones.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "dataplane/common/ids.h"

namespace keyrail {

namespace chassis {
class Envelope;
class FlowsFound;
}  // namespace chassis
namespace link {
class FlowAnswer;
class FlowAsk;
}  // namespace link

class FlowFinder {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr size_t kMax = 4096;                     // questions
    static constexpr int kBatch = 256;                       // of them in a message
    static constexpr std::chrono::milliseconds kLate{1900};  // keyrail-dp remembers its guess for 2 s

    /// What leaves; `send` says whether it could be sent.
    struct Out {
        std::function<bool(BladeId blade, chassis::Envelope message)> send;
        std::function<void(const link::FlowAnswer&)> answer;
    };
    explicit FlowFinder(Out out) : out_(std::move(out)) {}

    /// `able`: whose agents can be asked; `doubtful`: other blades that may have it. False: what is asked
    /// makes no sense, or too much is being asked. The agents hear of it by flush().
    bool ask(const link::FlowAsk& ask, const std::vector<BladeId>& able, const std::vector<BladeId>& doubtful,
             Time now);
    /// All that was asked since the last one: several questions, one message.
    void flush();
    void found(BladeId blade, const chassis::FlowsFound& found);
    /// keyrail-dp has gone: the next one's numbers mean other questions.
    void forget();
    /// Its agent is away, and will not answer.
    void lost(BladeId blade);
    /// Ends questions whose time is over.
    void tick(Time now);
    [[nodiscard]] bool pending() const { return !questions_.empty(); }

  private:
    struct Question {
        uint64_t ask_id;
        Time deadline;
        std::vector<BladeId> waiting;
        size_t doubtful;        // so many cannot say,
        BladeId doubtful_one;   // one of which is this one
        BladeId time_wait = 0;  // who has it so
        BladeId present = 0;    // who has it, by what is known yet
        uint32_t heard_ms = 0;  // of that one
        bool late = false;      // its time is over, and keyrail-dp guesses

        /// Who cannot say, or has not yet.
        [[nodiscard]] size_t silent() const { return doubtful + waiting.size(); }
        [[nodiscard]] bool has_answer() const { return present != 0 || silent() <= 1; }
    };
    using Questions = std::map<uint64_t, Question>;

    static void doubt(Question& question, BladeId blade);
    static void has_it(Question& question, BladeId blade, uint32_t heard_ms);
    bool answered(Question& question, BladeId blade, int presence, uint32_t heard_ms);
    void answer(const Question& question, BladeId blade, bool time_wait);
    /// All have spoken, or their time is over. False: there is no answer.
    bool conclude(const Question& question);
    bool make_room();
    bool is_over(Question& question, Time now);

    Out out_;
    Questions questions_;  // by our own number: keyrail-dp's begin anew with it
    uint64_t last_id_ = 0;
    std::map<BladeId, std::vector<chassis::Envelope>> unsent_;
};

}  // namespace keyrail
