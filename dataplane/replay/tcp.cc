// SPDX-License-Identifier: Apache-2.0
#include "dataplane/replay/tcp.h"

#include <xxhash.h>

#include <algorithm>

namespace keyrail::replay {
namespace {

constexpr std::string_view kGap = "gap never filled", kTooMany = "in more than 1024 segments";
static_assert(kHoldSegments == 1024);

/// No capture misses so much of a connection that goes on.
constexpr int64_t kFar = 1 << 30;

/// The hold table passes the mbufs that it is given on, and never looks into them.
rte_mbuf* as_mbuf(Piece* piece) { return reinterpret_cast<rte_mbuf*>(piece); }
Piece* as_piece(rte_mbuf* mbuf) { return reinterpret_cast<Piece*>(mbuf); }

Seq end_of(const Piece& piece) { return piece.seq + static_cast<uint32_t>(piece.bytes.size()); }

Tuple reversed(const Tuple& tuple) {
    return {tuple.destination, tuple.source, tuple.destination_port, tuple.source_port};
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
    for (Stream& stream : streams_) close_hold(stream);
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
    while (!accept_once(stream, frame, seq, bytes)) {
    }
}

/// False: room had to be made for them, or an older gap given up; try again.
bool Tcp::accept_once(Stream& stream, uint64_t frame, Seq seq, Bytes bytes) {
    const int64_t ahead = seq - stream.next, end = ahead + static_cast<int64_t>(bytes.size());
    if (end <= 0 || bytes.empty()) return true;  // sent again
    if (ahead > kFar) return true;               // a stranger's
    if (ahead > 0 && ahead <= stream.skip) {
        // A gap in what would be skipped anyway.
        stream.skip -= static_cast<uint32_t>(ahead);
        stream.next = seq;
        move_hold(stream);
        return false;
    }
    if (stream.hold == kNone && ahead > 0 && end > kHelloMax) {
        lose_track(stream, seq);  // no hold reaches that far
        return read(stream, frame, bytes);
    }
    if (stream.hold == kNone && ahead <= 0)
        return read(stream, frame, bytes.subspan(static_cast<size_t>(-ahead)));
    if (!keep(stream, frame, seq, bytes, 1)) return false;
    read_hold(stream);
    return true;
}

/// Bytes at stream.next, all from one segment.
bool Tcp::read(Stream& stream, uint64_t frame, Bytes bytes) {
    while (!bytes.empty()) {
        const Step step = next_step(stream, bytes);
        if (step.kind == Step::more) return keep(stream, frame, stream.next, bytes, step.bytes);
        bytes = bytes.subspan(take(stream, step, static_cast<uint32_t>(bytes.size()), {frame, 1}));
    }
    return true;
}

/// What is held, as far as it goes. Each byte is put together once, whatever the number of records in it.
void Tcp::read_hold(Stream& stream) {
    while (stream.hold != kNone && read_prefix(stream) && jump_gap(stream)) {
    }
}

/// Reads what is there without a gap. False: it wants more of it.
bool Tcp::read_prefix(Stream& stream) {
    Hold& hold = holds_.at(stream.hold);
    if (hold.reached < hold.wanted) return false;
    Bytes bytes = holds_.assemble(stream.hold, buffer_);
    uint32_t wanted = 0;
    while (!bytes.empty()) {
        const Seq from = stream.next;
        const Step step = next_step(stream, bytes);
        if (step.kind == Step::more) {
            wanted = step.bytes;
            break;
        }
        const bool found = step.kind == Step::hello || step.kind == Step::refused;
        const Origin origin = found ? origin_of(stream, from, from + step.bytes) : Origin{};
        bytes = bytes.subspan(take(stream, step, to_next_segment(stream), origin));
    }
    move_hold(stream);
    if (wanted > 0) hold.wanted = wanted;
    return wanted == 0;
}

/// To the first segment behind a gap, if the gap would be skipped anyway. False: there is none, or it would
/// not.
bool Tcp::jump_gap(Stream& stream) {
    if (stream.hold == kNone) return false;
    const int64_t gap = first_held(stream) - stream.next;
    if (gap > stream.skip) {
        holds_.at(stream.hold).wanted = 1;
        return false;
    }
    stream.skip -= static_cast<uint32_t>(gap);
    stream.next += static_cast<uint32_t>(gap);
    move_hold(stream);
    return true;
}

/// The hold follows the stream; what was read leaves it. An empty one is closed.
void Tcp::move_hold(Stream& stream) {
    if (stream.hold == kNone) return;
    holds_.move_base(stream.hold, stream.next, [](rte_mbuf* mbuf) { delete as_piece(mbuf); });
    if (holds_.at(stream.hold).first == kNone) close_hold(stream);
}

void Tcp::close_hold(Stream& stream) {
    if (stream.hold == kNone) return;
    holds_.release(stream.hold, [](rte_mbuf* mbuf, bool) { delete as_piece(mbuf); });
    stream.hold = kNone;
}

Seq Tcp::first_held(const Stream& stream) const {
    Seq first;
    holds_.each(stream.hold, [&](rte_mbuf* mbuf) {
        first = as_piece(mbuf)->seq;
        return false;
    });
    return first;
}

/// Who brought the bytes [from, to).
Origin Tcp::origin_of(const Stream& stream, Seq from, Seq to) const {
    Origin origin;
    holds_.each(stream.hold, [&](rte_mbuf* mbuf) {
        const Piece& piece = *as_piece(mbuf);
        if (!piece.seq.before(to)) return false;
        if (!from.before(end_of(piece))) return true;
        origin.frame = std::max(origin.frame, piece.frame);
        origin.segments++;
        return true;
    });
    return origin;
}

/// From stream.next, which is in a segment that is held.
uint32_t Tcp::to_next_segment(const Stream& stream) const {
    int64_t size = 1;
    holds_.each(stream.hold, [&](rte_mbuf* mbuf) {
        size = end_of(*as_piece(mbuf)) - stream.next;
        return size <= 0;
    });
    return static_cast<uint32_t>(size);
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

Step Tcp::next_step(Stream& stream, Bytes bytes) {
    looked_at_ = bytes;
    return finder_.next_step(stream, bytes);
}

void Tcp::report(const Stream& stream, uint32_t bytes, const HelloResult& result, Origin origin,
                 std::string_view given_up) {
    report_({origin.frame, stream.tuple, origin.segments, bytes, result, finder_.hello(), given_up,
             looked_at_.first(std::min<size_t>(bytes, looked_at_.size()))});
}

/// Keeps a segment until the stream has `wanted` bytes without a gap. False: there is no room; some was made.
bool Tcp::keep(Stream& stream, uint64_t frame, Seq seq, Bytes bytes, uint32_t wanted) {
    if (stream.hold == kNone) {
        if (holds_.in_use() == holds_.capacity()) make_room();
        stream.hold = holds_.open(HashTuple()(stream.tuple), stream.tuple, stream.next, 0);
        holds_.at(stream.hold).wanted = wanted;
    }
    auto piece = std::make_unique<Piece>(Piece{frame, seq, {bytes.begin(), bytes.end()}});
    switch (holds_.add(stream.hold, as_mbuf(piece.get()), seq, piece->bytes, false)) {
        case AddResult::added:
            piece.release();  // NOLINT(bugprone-unused-return-value): the hold has it
            return true;
        case AddResult::duplicate:
            return true;
        case AddResult::out_of_window:
            give_up(stream, kGap);
            return false;
        case AddResult::too_many:
            give_up(stream, kTooMany);
            return false;
        case AddResult::no_segment:
            if (holds_.at(stream.hold).first == kNone) close_hold(stream);
            make_room();
            return false;
    }
    return true;
}

void Tcp::make_room() {
    Stream* longest = find(holds_.at(holds_.oldest()).tuple);
    give_up_all(longest, "table of held segments full");
}

/// Waits no longer for what is missing: says so if it was of a ClientHello, and goes on behind it.
void Tcp::give_up(Stream& stream, std::string_view why) {
    const Bytes bytes = holds_.assemble(stream.hold, buffer_);
    const Seq from = stream.next, behind = from + static_cast<uint32_t>(bytes.size());
    const bool hello = begins_hello(bytes);
    const Step step = next_step(stream, bytes);
    const Origin origin = origin_of(stream, from, behind);
    bool gap = false;  // segments are held behind it
    holds_.each(stream.hold, [&](rte_mbuf* mbuf) {
        gap = behind.before(end_of(*as_piece(mbuf)));
        return !gap;
    });
    // Before its segments go: the hello is read where it lies in them.
    if (hello && step.kind == Step::more)
        report(stream, static_cast<uint32_t>(bytes.size()), step.result, origin,
               gap && why != kTooMany ? kGap : why);
    lose_track(stream, behind);
    move_hold(stream);
    if (stream.hold == kNone) return;
    lose_track(stream, first_held(stream));
    move_hold(stream);
    holds_.at(stream.hold).wanted = 1;
    read_hold(stream);
}

void Tcp::give_up_all(Stream* stream, std::string_view why) {
    while (stream != nullptr && stream->hold != kNone) give_up(*stream, why);
}

}  // namespace keyrail::replay
