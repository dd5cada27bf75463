// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/conversation.h"

namespace keyrail::loadgen {

uint8_t flags_of(Say say) {
    switch (say) {
        case Say::syn:
            return kSyn;
        case Say::syn_ack:
            return kSyn | kAck;
        case Say::fin:
            return kFin | kAck;
        case Say::hello:
        case Say::flight:
        case Say::request:
        case Say::response:
            return kAck | kPsh;
        default:
            return kAck;
    }
}

Step Client::receive(const Segment& segment, const Lengths& lengths) {
    if (state_ == State::idle) return {Say::nothing, Event::stray};
    if (segment.flags & kRst) return {Say::nothing, Event::reset};
    if (state_ == State::syn) {
        if ((segment.flags & (kSyn | kAck)) != (kSyn | kAck) || segment.ack != own_)
            return {Say::nothing, Event::stray};
        begin(own_, segment.seq + 1, segment.tsval);
        state_ = State::hello;
        return {Say::ack_and_hello};
    }
    if (segment.flags & kSyn) return {again(), Event::duplicate};
    if (segment.empty()) return {};
    const bool first = received() == 0;
    if (const Place at = place(segment); at != Place::in_order)
        return {Say::ack, at == Place::gap ? Event::gap : Event::duplicate};

    const Event event = first ? Event::first_byte : Event::none;
    if (segment.flags & kFin) {
        const bool both = state_ == State::fin && segment.ack == own_ + lengths.from_client() + 1;
        return {Say::ack, both ? Event::completed : Event::closed};
    }
    if (state_ == State::hello && received() >= lengths.flight) {
        state_ = State::request;
        return {Say::request, event};
    }
    if (state_ == State::request && received() >= lengths.from_blade()) {
        state_ = State::fin;
        return {Say::fin, event};
    }
    return {Say::ack, event};
}

Say Client::again() const {
    switch (state_) {
        case State::idle:
            break;
        case State::syn:
            return Say::syn;
        case State::hello:
            return Say::hello;
        case State::request:
            return Say::request;
        case State::fin:
            return Say::fin;
    }
    return Say::nothing;
}

Seq Client::seq(Say say, const Lengths& lengths) const {
    switch (say) {
        case Say::syn:
            return own_.back(1);
        case Say::request:
            return own_ + lengths.hello;
        case Say::fin:
            return own_ + lengths.from_client();
        case Say::ack:  // of what was said last
            if (state_ == State::fin) return own_ + lengths.from_client() + 1;
            return state_ == State::request ? own_ + lengths.from_client() : own_ + lengths.hello;
        default:
            return own_;
    }
}

/// A SYN, or with late binding a ClientHello: its acknowledgement names the dispatcher's cookie, which is our
/// initial sequence number.
Step Blade::opened(const Segment& segment) {
    if (segment.flags & kSyn) {
        constexpr uint32_t kSpread = 2654435761;  // any initial sequence number would do
        begin(segment.seq.value() * kSpread + 1, segment.seq + 1, segment.tsval);
        state_ = State::open;
        return {Say::syn_ack};
    }
    begin(segment.ack, segment.seq, segment.tsval);
    state_ = State::open;
    return {};
}

Step Blade::receive(const Segment& segment, const Lengths& lengths, bool accepts) {
    if (segment.flags & kRst) {
        state_ = State::closed;
        return {Say::nothing, Event::reset};
    }
    if (segment.flags & kSyn) {
        const bool again = state_ == State::open && segment.seq + 1 == first_;
        return again ? Step{Say::syn_ack, Event::duplicate} : opened(segment);
    }
    if (state_ == State::closed) {
        if (!accepts || segment.size == 0) return {Say::nothing, Event::stray};
        opened(segment);
    }
    if (segment.empty()) return {};
    if (const Place at = place(segment); at != Place::in_order)
        return at == Place::gap ? Step{Say::ack, Event::gap} : Step{again(), Event::duplicate};

    if (state_ == State::open && received() >= lengths.hello) {
        state_ = State::flight;
        return {Say::flight, Event::hello};
    }
    if (state_ == State::flight && received() >= lengths.from_client()) state_ = State::response;
    if (segment.flags & kFin) {
        if (state_ != State::response) return {Say::ack, Event::closed};
        state_ = State::fin;
        return {Say::fin};
    }
    return {state_ == State::response ? Say::response : Say::ack};
}

Say Blade::again() const {
    switch (state_) {
        case State::flight:
            return Say::flight;
        case State::response:
            return Say::response;
        case State::fin:
            return Say::fin;
        default:
            return Say::ack;
    }
}

Seq Blade::seq(Say say, const Lengths& lengths) const {
    switch (say) {
        case Say::syn_ack:
            return own_.back(1);
        case Say::response:
            return own_ + lengths.flight;
        case Say::fin:
            return own_ + lengths.from_blade();
        case Say::ack:
            if (state_ == State::flight) return own_ + lengths.flight;
            return state_ >= State::response ? own_ + lengths.from_blade() : own_;
        default:
            return own_;
    }
}

}  // namespace keyrail::loadgen
