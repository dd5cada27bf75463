// SPDX-License-Identifier: Apache-2.0
// A TLS connection as its packets, from SYN to the last ACK: two state machines, the client's and the
// blade's. Pure: a segment in, what to say next out. Each says its next thing when it has all that the other
// had to say, so a proxy may cut the streams as it likes.
//
//   client  SYN, ACK, ClientHello             Finished+request     FIN         ACK
//   blade            (SYN-ACK)   ServerHello...           response     FIN
//
// A ClientHello may take several segments; the blade acknowledges those that are not the last, as a kernel
// does at the beginning of a connection.
//
// The blade answers a SYN if it gets one (early binding, a proxy's connection, no dispatcher at all); with
// late binding the dispatcher has answered it, and the ClientHello is the first that the blade sees.
#pragma once

#include <cstdint>

#include "dataplane/wire/headers.h"

namespace keyrail::loadgen {

/// Bytes of stream that each side sends, the same on every connection of a run.
struct Lengths {
    uint16_t hello = 0, request = 0;    // the client's: ClientHello; Finished and request
    uint16_t flight = 0, response = 0;  // the blade's: ServerHello to Finished; the answer
    [[nodiscard]] uint32_t from_client() const { return uint32_t{hello} + request; }
    [[nodiscard]] uint32_t from_blade() const { return uint32_t{flight} + response; }
};

/// A segment that was received, as far as a conversation cares.
struct Segment {
    uint8_t flags = 0;  // TcpFlag
    uint16_t size = 0;  // of the payload
    Seq seq, ack;
    uint32_t tsval = 0;  // RFC 7323; 0 when it has none

    [[nodiscard]] bool empty() const { return size == 0 && !(flags & kFin); }
};

enum class Say : uint8_t { nothing, syn, syn_ack, ack, ack_and_hello, hello, flight, request, response, fin };

uint8_t flags_of(Say say);  // TcpFlag

enum class Event : uint8_t {
    none,
    first_byte,  // the client has the first byte of the blade's answer
    hello,       // the blade has the ClientHello
    completed,   // both sides are closed
    reset,
    closed,     // the other side closed in the middle
    duplicate,  // bytes that are there already
    gap,        // bytes before these are missing
    stray,      // of no connection that this side knows
};

struct Step {
    Say say = Say::nothing;
    Event event = Event::none;
};

/// What both sides keep of TCP: sequence numbers, and the other's clock to echo.
class Stream {
  public:
    [[nodiscard]] Seq next_expected() const { return next_; }
    [[nodiscard]] uint32_t echo() const { return echo_; }
    /// How far behind the other side's first byte.
    [[nodiscard]] int64_t offset_of(Seq seq) const { return seq - first_; }

  protected:
    enum class Place : uint8_t { in_order, duplicate, gap };
    Place place(const Segment& segment) {
        const int64_t ahead = segment.seq - next_;
        if (ahead != 0) return ahead < 0 ? Place::duplicate : Place::gap;
        next_ += segment.size + (segment.flags & kFin ? 1 : 0);
        echo_ = segment.tsval;
        return Place::in_order;
    }
    void begin(Seq own, Seq peers, uint32_t tsval) {
        own_ = own;
        first_ = next_ = peers;
        echo_ = tsval;
    }
    [[nodiscard]] int64_t received() const { return next_ - first_; }

    Seq own_;    // our first byte
    Seq first_;  // theirs
    Seq next_;
    uint32_t echo_ = 0;
};

class Client : public Stream {
  public:
    /// What it has said and waits for an answer to.
    enum class State : uint8_t { idle, syn, hello, request, fin };

    /// The next thing to say is Say::syn.
    void start(Seq isn) {
        begin(isn + 1, 0, 0);
        state_ = State::syn;
    }
    Step receive(const Segment& segment, const Lengths& lengths);
    void stop() { state_ = State::idle; }

    [[nodiscard]] State state() const { return state_; }
    /// What to say again when no answer comes.
    [[nodiscard]] Say again() const;
    /// Sequence number of what is said; of ack_and_hello, both have the same.
    [[nodiscard]] Seq seq(Say say, const Lengths& lengths) const;

  private:
    State state_ = State::idle;
};

class Blade : public Stream {
  public:
    enum class State : uint8_t { closed, open, flight, response, fin };

    /// `accepts`: a ClientHello without a SYN before it begins a connection (late binding).
    Step receive(const Segment& segment, const Lengths& lengths, bool accepts);

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] Seq seq(Say say, const Lengths& lengths) const;
    /// What this segment brings is the client's first; so is all that comes to a closed one.
    [[nodiscard]] bool begins(const Segment& segment) const {
        return state_ == State::closed || segment.seq == first_;
    }

  private:
    Step opened(const Segment& segment);
    [[nodiscard]] Say again() const;

    State state_ = State::closed;
};

}  // namespace keyrail::loadgen
