// SPDX-License-Identifier: Apache-2.0
// The packet path from bind to the hold table, driven by a byte-coded sequence: segments of four clients in
// any order, size, overlap and timing, FIN and RST, moves answered or not, blades that come and go.
//
// Whatever happens: nothing is lost but copies, every packet is accounted for, memory stays inside its bound,
// and what a blade gets first is the beginning of the client's stream.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/pipeline/harness.h"
#include "tests/support/hellos.h"

using namespace keyrail;
using namespace keyrail::test;

namespace {

constexpr size_t kClients = 4;
constexpr uint32_t kFirstSeq = 5001;  // of Client
constexpr uint16_t kFirstPort = 41000;
constexpr uint32_t kStray = 8;  // bytes
constexpr uint8_t kStrayByte = 0xee;

void require(bool what) {
    if (!what) __builtin_trap();
}

/// Streams worth reading: one record, many records, a TLS 1.2 hello, and what is no TLS.
const std::array<std::vector<uint8_t>, kClients>& streams() {
    static const auto made = [] {
        std::array<std::vector<uint8_t>, kClients> all = {
            client_hello({.name = Harness::name(2)}),
            in_records_of(client_hello({.name = Harness::name(1), .post_quantum = false}), 50),
            client_hello({.max_version = TlsVersion::tls12, .name = Harness::name(3)}),
            std::vector<uint8_t>(300, 'G'),
        };
        for (auto& stream : all) stream.resize(stream.size() + 200, 0x5a);  // data behind it
        return all;
    }();
    return made;
}

struct Sender {
    Client client;
    const std::vector<uint8_t>& stream;
    std::vector<bool> sent, got;
    bool reset = false;

    Sender(Harness& harness, size_t i)
        : client(harness, static_cast<uint16_t>(kFirstPort + i)),
          stream(streams()[i]),
          sent(stream.size()),
          got(stream.size()) {
        client.syn();
    }
    Frame segment(uint32_t offset, uint32_t size, uint8_t flags) {
        if (!sent[0]) offset = 0;  // the first is the one that proves the cookie
        offset = std::min<uint32_t>(offset, static_cast<uint32_t>(stream.size()));
        size = std::min<uint32_t>(size, static_cast<uint32_t>(stream.size()) - offset);
        if (!sent[0] && size == 0) size = 1;
        std::fill_n(sent.begin() + offset, size, true);
        reset |= (flags & kRst) != 0;
        return client.segment(cut(stream, offset, offset + size), offset, flags).frame();
    }
    /// Not the client's: anywhere on the circle of sequence numbers but where its stream is.
    Frame stray(uint32_t offset, uint8_t flags) {
        const auto streams_end = static_cast<uint32_t>(stream.size());
        if (Seq(offset).before(streams_end) && Seq(0u).back(kStray).before(offset))
            offset += streams_end + kStray;
        return client.segment(std::vector<uint8_t>(kStray, kStrayByte), offset, flags).frame();
    }
    void arrived(const Headers& h, const Frame& frame) {
        const int64_t offset = h.seq - kFirstSeq;
        if (h.payload_size == 0) return;
        const bool strange = offset < 0 || offset >= static_cast<int64_t>(stream.size());
        if (strange) return require(h.payload_size == kStray && frame[h.payload] == kStrayByte);
        require(offset + h.payload_size <= static_cast<int64_t>(stream.size()));
        require(std::equal(frame.begin() + h.payload, frame.begin() + h.payload + h.payload_size,
                           stream.begin() + offset));
        require(reset || offset == 0 || got[0]);
        std::fill_n(got.begin() + offset, h.payload_size, true);
    }
};

struct Play {
    Harness& harness;
    std::vector<Sender> senders;

    explicit Play(Harness& with) : harness(with) {
        for (size_t i = 0; i < kClients; i++) senders.emplace_back(harness, i);
    }
    void collect() {
        for (const Frame& frame : harness.wire(kBack)) {
            const Headers h = parse_headers(frame);
            senders.at(static_cast<size_t>(h.tuple.source_port - kFirstPort)).arrived(h, frame);
        }
        harness.expect_conserved();
        require(harness.context().holds_table.kept_segments() <= 24);
        require(harness.context().holds_table.in_use() <= 3);
    }
    /// Blade 2. A new snapshot costs more than all else here: only when it differs.
    void set_down(bool down) {
        static bool is_down = false;
        if (std::exchange(is_down, down) == down) return;
        harness.set_blades(down ? Scene{.up = {1, 3}, .down = {2}} : Scene{});
    }
    void answer_moves(bool moved) {
        for (const MoveAsk& ask : harness.asks()) harness.answer(ask, moved);
    }
    /// Four bytes: what, where in the stream, how much, more.
    void step(const uint8_t* code) {
        Sender& sender = senders[code[0] / 16 % kClients];
        const uint32_t offset = code[1] * 4u, size = code[2] * (code[3] & 1 ? 1u : 5u);
        switch (code[0] % 16) {
            case 0:
                return harness.advance(code[1] * 200u);
            case 1:
                return harness.advance(code[1] * 40'000u);
            case 2:
                return answer_moves(code[1] & 1);
            case 3:
                return harness.burst(kFront, {sender.segment(offset, 0, code[3] & 2 ? kRst | kAck : kAck)});
            case 4:
                return harness.burst(kFront, {sender.segment(offset, size, kAck | kFin)});
            case 5:
                return harness.burst(kFront,
                                     {sender.segment(offset, size, kAck), sender.segment(0, size, kAck),
                                      sender.segment(offset + size, size, kAck | kUrg)});
            case 6:
                return set_down(code[1] & 1);
            case 7:  // the rest of the circle
                if (!sender.sent[0]) return;
                return harness.burst(
                    kFront, {sender.stray(uint32_t{code[1]} << 24 | uint32_t{code[2]} << 16 | code[3],
                                          code[3] & 1 ? kAck | kFin : kAck)});
            default:
                return harness.burst(kFront, {sender.segment(offset, size, kAck)});
        }
    }
    void end() {
        answer_moves(false);
        for (int i = 0; i < 6; i++) harness.advance(1'000'000);
        collect();
        require(harness.context().holds_table.in_use() == 0 &&
                harness.context().holds_table.kept_segments() == 0);
        require(Harness::mbufs_in_use() == 0);
    }
    /// Nothing was lost, unless somebody said so.
    void check_streams(bool dropped) {
        for (const Sender& sender : senders)
            if (!sender.reset && !dropped) require(sender.sent == sender.got);
    }
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    testing::FLAGS_gtest_throw_on_failure = true;  // harness.expect_conserved()
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Harness harness{Scene{.holds = 3, .segments = 24, .flow_buckets = 16}};
    harness.forget_flows();
    const auto lost = [] {
        return harness.count(Reason::drop_no_memory) + harness.count(Reason::drop_no_blade);
    };
    const uint64_t before = lost();
    Play play(harness);
    play.set_down(false);
    for (size_t at = 0; at + 4 <= std::min<size_t>(size, 1024); at += 4) {
        play.step(data + at);
        play.collect();
    }
    play.end();
    play.check_streams(lost() != before);
    return 0;
}
