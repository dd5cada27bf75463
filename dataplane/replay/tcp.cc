// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/tcp.h"

#include <xxhash.h>

#include <algorithm>

namespace keyrail::replay {
namespace {

/// No capture misses so much of a connection that goes on.
constexpr int64_t kFar = 1 << 30;

/// The hold table passes the mbufs that it is given on, and never looks into them.
rte_mbuf* as_mbuf(Piece* piece) { return reinterpret_cast<rte_mbuf*>(piece); }
Piece* as_piece(rte_mbuf* mbuf) { return reinterpret_cast<Piece*>(mbuf); }

Seq end_of(const Piece& piece) { return piece.seq + static_cast<uint32_t>(piece.bytes.size()); }

Tuple reversed(const Tuple& tuple) {
    return {tuple.destination, tuple.source, tuple.destination_port, tuple.source_port};
}

/// Who brought the bytes before `end`.
Origin origin_of(const Pieces& pieces, Seq end) {
    Origin origin;
    for (const auto& piece : pieces) {
        if (!piece->seq.before(end)) continue;
        origin.frame = std::max(origin.frame, piece->frame);
        origin.segments++;
    }
    return origin;
}

/// A gap stays, or the stream is another one: the next hello may begin where the next segment does.
void lose_track(Stream& stream, Seq next) {
    stream.next = next;
    stream.skip = 0;
    stream.in_tls = false;
}

}  // namespace

size_t Tcp::HashTuple::operator()(const Tuple& tuple) const { return XXH3_64bits(&tuple, sizeof tuple); }

Tcp::~Tcp() {
    for (Stream& stream : streams_) take_hold(stream);
}

Stream* Tcp::find(const Tuple& tuple) {
    const auto at = by_tuple_.find(tuple);
    return at == by_tuple_.end() ? nullptr : &*at->second;
}

Stream& Tcp::open(const Tuple& tuple, Seq start) {
    if (streams_.size() == most_streams_) {
        give_up_all(&streams_.front(), "table of connections full");
        by_tuple_.erase(streams_.front().tuple);
        streams_.pop_front();
    }
    streams_.push_back({.tuple = tuple, .start = start, .next = start});
    by_tuple_[tuple] = std::prev(streams_.end());
    return streams_.back();
}

void Tcp::frame(const Frame& frame) {
    const Headers headers = parse_headers(frame.bytes);
    if (headers.layout != Layout::tcp) return;
    const Bytes payload = frame.bytes.subspan(headers.payload, headers.payload_size);
    // What is lost is the frame's end: first what the link layer put there, then payload.
    const size_t there = frame.bytes.size() - frame.lost;
    const size_t kept = std::min(payload.size(), there - std::min<size_t>(there, headers.payload));
    segment(frame.number, headers, payload.first(kept), static_cast<uint32_t>(payload.size() - kept));
}

void Tcp::segment(uint64_t frame, const Headers& headers, Bytes payload, uint32_t lost) {
    constexpr std::string_view kClosed = "connection closed";
    Stream* stream = find(headers.tuple);
    if (headers.flags & kRst) {
        give_up_all(stream, kClosed);
        return give_up_all(find(reversed(headers.tuple)), kClosed);
    }
    const bool syn = headers.flags & kSyn;
    const Seq seq = headers.seq + (syn ? 1 : 0);
    if (stream == nullptr && payload.empty() && !syn) return;
    if (stream == nullptr) stream = &open(headers.tuple, seq);
    streams_.splice(streams_.end(), streams_, by_tuple_.at(headers.tuple));
    if (syn && seq != stream->start) {  // the same ports, another connection
        give_up_all(stream, kClosed);
        *stream = {.tuple = headers.tuple, .start = seq, .next = seq};
    }
    accept(*stream, frame, seq, payload);
    const Seq end = seq + static_cast<uint32_t>(payload.size());
    if (lost > 0) {
        give_up_all(stream, "frame cut short by the capture");
        if (stream->next == end && stream->skip >= lost) {
            stream->skip -= lost;
            stream->next += lost;
        } else if (stream->next.before(end + lost)) {
            lose_track(*stream, end + lost);
        }
    }
    if (headers.flags & kFin) {
        stream->finished = true;
        stream->fin = end + lost;
    }
    if (stream->finished && stream->hold != kNone &&
        stream->next + holds_.at(stream->hold).reached == stream->fin)
        give_up_all(stream, kClosed);
}

void Tcp::finish() {
    for (Stream& stream : streams_) give_up_all(&stream, "end of file");
}

/// Bytes of the stream: read at once where they are the next ones, else kept.
void Tcp::accept(Stream& stream, uint64_t frame, Seq seq, Bytes bytes) {
    const int64_t ahead = seq - stream.next, end = ahead + static_cast<int64_t>(bytes.size());
    if (end <= 0) return;      // sent again
    if (ahead > kFar) return;  // a stranger's
    if (ahead > 0 && ahead <= stream.skip) {
        // A gap in what would be skipped anyway.
        stream.skip -= static_cast<uint32_t>(ahead);
        stream.next = seq;
        Pieces pieces = take_hold(stream);
        accept(stream, frame, seq, bytes);
        return accept(stream, std::move(pieces));
    }
    if (stream.hold == kNone && ahead > 0 && end > kHelloMax) {
        lose_track(stream, seq);  // no hold reaches that far
        return read(stream, frame, bytes);
    }
    if (stream.hold == kNone && ahead <= 0)
        return read(stream, frame, bytes.subspan(static_cast<size_t>(-ahead)));
    keep(stream, frame, seq, bytes, 1);
    read_hold(stream);
}

void Tcp::accept(Stream& stream, Pieces pieces) {
    for (const auto& piece : pieces) accept(stream, piece->frame, piece->seq, piece->bytes);
}

/// Bytes at stream.next, all from one segment.
void Tcp::read(Stream& stream, uint64_t frame, Bytes bytes) {
    while (!bytes.empty()) {
        const Step step = finder_.next_step(stream, bytes);
        if (step.kind == Step::more) return keep(stream, frame, stream.next, bytes, step.bytes);
        bytes = bytes.subspan(take(stream, step, static_cast<uint32_t>(bytes.size()), {frame, 1}));
    }
}

/// What is held, if that is enough by now. Segments behind it are then accepted as if they came just now.
void Tcp::read_hold(Stream& stream) {
    if (stream.hold == kNone) return;
    Hold& hold = holds_.at(stream.hold);
    if (hold.reached < hold.wanted) return;
    const Step step = finder_.next_step(stream, holds_.assemble(stream.hold, buffer_));
    if (step.kind == Step::more) {
        hold.wanted = step.bytes;
        return;
    }
    Pieces pieces = take_hold(stream);
    take(stream, step, static_cast<uint32_t>(end_of(*pieces.front()) - stream.next),
         origin_of(pieces, stream.next + step.bytes));
    accept(stream, std::move(pieces));
}

/// Takes a step in the stream, and reports what was found. Returns its size.
uint32_t Tcp::take(Stream& stream, const Step& step, uint32_t to_next_segment, Origin origin) {
    if (step.kind == Step::hello) report(stream, step.result.size, step.result, origin, "");
    if (step.kind == Step::refused) {
        const bool too_long = step.result.status == HelloStatus::too_long;
        report(stream, step.bytes, step.result, origin, too_long ? "longer than 65536 bytes" : "malformed");
    }
    const uint32_t size = step.bytes == 0 ? to_next_segment : step.bytes;
    stream.next += size;
    return size;
}

void Tcp::report(const Stream& stream, uint32_t bytes, const HelloResult& result, Origin origin,
                 std::string_view given_up) {
    report_({origin.frame, stream.tuple, origin.segments, bytes, result, finder_.hello(), given_up});
}

/// Keeps a segment until the stream has `wanted` bytes without a gap.
void Tcp::keep(Stream& stream, uint64_t frame, Seq seq, Bytes bytes, uint32_t wanted) {
    if (stream.hold == kNone) {
        if (holds_.in_use() == holds_.capacity()) make_room();
        stream.hold = holds_.open(HashTuple()(stream.tuple), stream.tuple, stream.next, 0);
        holds_.at(stream.hold).wanted = wanted;
    }
    auto piece = std::make_unique<Piece>(Piece{frame, seq, {bytes.begin(), bytes.end()}});
    switch (holds_.add(stream.hold, as_mbuf(piece.get()), seq, piece->bytes, false)) {
        case AddResult::added:
            piece.release();  // NOLINT(bugprone-unused-return-value): take_hold() has it back
            return;
        case AddResult::duplicate:
            return;
        case AddResult::out_of_window:
            give_up(stream, "gap never filled");
            break;
        case AddResult::too_many:
            give_up(stream, "in more segments than a hold may have");
            break;
        case AddResult::no_segment:
            make_room();
            break;
    }
    accept(stream, frame, seq, bytes);
}

void Tcp::make_room() {
    Stream* longest = find(holds_.at(holds_.oldest()).tuple);
    give_up_all(longest, "table of held segments full");
}

Pieces Tcp::take_hold(Stream& stream) {
    Pieces pieces;
    if (stream.hold == kNone) return pieces;
    holds_.release(stream.hold, [&](rte_mbuf* mbuf, bool) { pieces.emplace_back(as_piece(mbuf)); });
    stream.hold = kNone;
    return pieces;
}

/// Waits no longer for what is missing: says so if it was of a ClientHello, and goes on behind it.
void Tcp::give_up(Stream& stream, std::string_view why) {
    const Bytes bytes = holds_.assemble(stream.hold, buffer_);
    const auto reached = static_cast<uint32_t>(bytes.size());
    const bool hello = begins_hello(bytes);
    const Step step = finder_.next_step(stream, bytes);
    Pieces pieces = take_hold(stream);
    const bool gap = end_of(*pieces.back()) != stream.next + reached;
    if (hello && step.kind == Step::more)
        report(stream, reached, step.result, origin_of(pieces, stream.next + reached),
               gap ? "gap never filled" : why);
    lose_track(stream, stream.next + reached);
    std::erase_if(pieces, [&](const auto& piece) { return !stream.next.before(end_of(*piece)); });
    if (!pieces.empty()) stream.next = pieces.front()->seq;
    accept(stream, std::move(pieces));
}

void Tcp::give_up_all(Stream* stream, std::string_view why) {
    while (stream != nullptr && stream->hold != kNone) give_up(*stream, why);
}

}  // namespace keyrail::replay
