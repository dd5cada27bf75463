// SPDX-License-Identifier: Apache-2.0
// TCP for `keyrail-replay`: puts the segments of all connections in order, in the pipeline's hold table, and
// has every stream looked through for ClientHellos. Memory is bounded: by streams, and by what the hold table
// holds.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataplane/flow/hold.h"
#include "dataplane/replay/capture.h"
#include "dataplane/replay/stream.h"

namespace keyrail::replay {

/// A ClientHello, or the part of one that there was. Valid during the call.
struct Found {
    uint64_t frame;      // that brought its last byte
    const Tuple& tuple;  // from the client to the server
    uint32_t segments, bytes;
    const HelloResult& result;
    const ClientHello& hello;
    std::string_view given_up;  // why it is not whole; empty: it is
    Bytes stream;               // the client's bytes, as they came: as many as there are of it
};

/// A segment's payload, kept until its stream can be read.
struct Piece {
    uint64_t frame;
    Seq seq;
    std::vector<uint8_t> bytes;
};

/// Who brought some bytes of a stream: the number of the last segment's frame, and how many segments.
struct Origin {
    uint64_t frame = 0;
    uint32_t segments = 0;
};

/// What is kept at most; the oldest goes first.
struct Room {
    size_t streams = 64 * 1024;
    uint32_t holds = 1024, segments = 16 * 1024;
};

class Tcp {
  public:
    using Report = std::function<void(const Found&)>;
    explicit Tcp(Report report, Room room = {})
        : report_(std::move(report)), most_streams_(room.streams), holds_(room.holds, room.segments) {}
    ~Tcp();
    Tcp(const Tcp&) = delete;
    Tcp& operator=(const Tcp&) = delete;

    /// One frame; only those with a TCP segment in them matter.
    void frame(const Frame& frame);
    /// One segment. `lost`: bytes at the payload's end that the capture does not have.
    void segment(uint64_t frame, const Headers& headers, Bytes payload, uint32_t lost);
    /// The capture is over: what is incomplete stays so.
    void finish();

  private:
    struct HashTuple {
        size_t operator()(const Tuple& tuple) const;
    };
    using Streams = std::list<Stream>;  // the latest one used last

    Stream* find(const Tuple& tuple);
    Stream& open(const Tuple& tuple, Seq start);
    void accept(Stream& stream, uint64_t frame, Seq seq, Bytes bytes);
    bool accept_once(Stream& stream, uint64_t frame, Seq seq, Bytes bytes);
    bool read(Stream& stream, uint64_t frame, Bytes bytes);
    bool keep(Stream& stream, uint64_t frame, Seq seq, Bytes bytes, uint32_t wanted);
    void read_hold(Stream& stream);
    bool read_prefix(Stream& stream);
    bool jump_gap(Stream& stream);
    void move_hold(Stream& stream);
    void close_hold(Stream& stream);
    [[nodiscard]] Seq first_held(const Stream& stream) const;
    [[nodiscard]] Origin origin_of(const Stream& stream, Seq from, Seq to) const;
    [[nodiscard]] uint32_t to_next_segment(const Stream& stream) const;
    uint32_t take(Stream& stream, const Step& step, uint32_t to_next_segment, Origin origin);
    Step next_step(Stream& stream, Bytes bytes);
    void report(const Stream& stream, uint32_t bytes, const HelloResult& result, Origin origin,
                std::string_view given_up);
    void give_up(Stream& stream, std::string_view why);
    void give_up_all(Stream* stream, std::string_view why);
    void make_room();

    Report report_;
    size_t most_streams_;
    HelloFinder finder_;
    Bytes looked_at_;  // by it, last
    HoldTable holds_;
    Streams streams_;
    std::unordered_map<Tuple, Streams::iterator, HashTuple> by_tuple_;
    std::array<uint8_t, kHelloMax> buffer_;
};

}  // namespace keyrail::replay
