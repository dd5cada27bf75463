// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/client_side.h"

#include <rte_cycles.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <random>
#include <utility>

namespace keyrail::loadgen {
namespace {

Failure unanswered(Client::State state) {
    switch (state) {
        case Client::State::hello:
            return Failure::no_server_hello;
        case Client::State::request:
            return Failure::no_response;
        case Client::State::fin:
            return Failure::no_close;
        default:
            return Failure::no_syn_ack;
    }
}

}  // namespace

ClientSide::ClientSide(const Options& options, const Script& script, Port& port, rte_mempool* pool,
                       Report& report, const Window& window)
    : options_(options),
      script_(script),
      port_(port),
      pool_(pool),
      report_(report),
      window_(window),
      numbering_(options.clients),
      ns_per_tick_(1e9 / static_cast<double>(rte_get_tsc_hz())),
      timeout_ticks_(rte_get_tsc_hz() / 1000 * options.timeout_ms),
      slots_(options.connections),
      slot_mask_(std::bit_ceil(options.connections) - 1) {
    // Another run's numbers: a dispatcher remembers connections for a minute after their end.
    const uint64_t base = std::random_device{}() & numbering_.mask() & ~slot_mask_;
    for (uint32_t i = options.connections; i-- > 0;) {
        slots_[i].number = base + i;
        free_.push_back(i);
    }
}

ClientSide::Slot* ClientSide::slot_of(const Received& received) {
    const auto number = numbering_.number(received.destination, received.destination_port);
    if (!number || (*number & slot_mask_) >= slots_.size()) return nullptr;
    Slot& slot = slots_[*number & slot_mask_];
    return slot.number == *number ? &slot : nullptr;
}

void ClientSide::arm(Slot& slot, const Clock& clock) {
    slot.deadline = clock.tsc + (timeout_ticks_ << slot.tries);
}

void ClientSide::say(Slot& slot, Say what, rte_mbuf* into, const Clock& clock, size_t nth) {
    const Path path{.to = options_.front_mac,
                    .from = {0x02, 0, 0, 0, 0xc0, 0x01},
                    .source = numbering_.address(slot.number),
                    .destination = options_.service,
                    .source_port = numbering_.port(slot.number),
                    .destination_port = options_.service_port};
    const std::span<const Payload> all = script_.segments(what, slot.hello);
    const Segment segment{.flags = nth + 1 < all.size() ? uint8_t{kAck} : flags_of(what),
                          .seq = slot.client.seq(what, script_.lengths()) + static_cast<uint32_t>(nth * kMss),
                          .ack = what == Say::syn ? 0 : slot.client.next_expected(),
                          .tsval = clock.ms};
    port_.send(into, path, segment, slot.client.echo(), all[nth]);
}

void ClientSide::say_anew(Slot& slot, Say what, const Clock& clock) {
    const size_t segments = script_.segments(what, slot.hello).size();
    for (size_t nth = 0; nth < segments; nth++) {
        if (rte_mbuf* into = rte_pktmbuf_alloc(pool_); into != nullptr)
            say(slot, what, into, clock, nth);
        else
            report_.counts.no_memory++;  // as if it were lost: the timer will say it again
    }
}

void ClientSide::start(uint64_t due, const Clock& clock) {
    Slot& slot = slots_[free_.back()];
    free_.pop_back();
    slot.number = (slot.number + slot_mask_ + 1) & numbering_.mask();
    slot.hello = next_hello_;
    next_hello_ = next_hello_ + 1 == script_.hellos() ? 0 : next_hello_ + 1;
    slot.due = due;
    slot.tries = 0;
    slot.client.start(static_cast<uint32_t>(slot.number * 2654435761));  // any will do
    report_.counts.started++;
    say_anew(slot, Say::syn, clock);
    arm(slot, clock);
}

bool ClientSide::poll(const Clock& clock) {
    std::array<rte_mbuf*, Port::kBurst> frames;
    const uint16_t count = port_.receive(frames.data());
    for (uint16_t i = 0; i < count; i++) receive(frames[i], clock);
    return count != 0;
}

void ClientSide::receive(rte_mbuf* frame, const Clock& clock) {
    Received received;
    if (!read_frame({rte_pktmbuf_mtod(frame, const uint8_t*), frame->data_len}, received)) {
        report_.counts.other++;
        return rte_pktmbuf_free(frame);
    }
    Slot* slot = slot_of(received);
    const Step step = slot == nullptr ? Step{.event = Event::stray}
                                      : slot->client.receive(received.segment, script_.lengths());
    if (step.event == Event::stray) report_.counts.strays++;
    if (step.say == Say::nothing) {
        rte_pktmbuf_free(frame);
    } else if (step.say == Say::ack_and_hello) {
        say(*slot, Say::ack_and_hello, frame, clock);  // the ACK; it has no payload
        say_anew(*slot, Say::hello, clock);
    } else {
        say(*slot, step.say, frame, clock);
    }
    if (slot == nullptr) return;
    if (step.say != Say::nothing && step.say != Say::ack) {
        slot->tries = 0;
        arm(*slot, clock);
    }
    happened(*slot, step.event, clock);
}

void ClientSide::happened(Slot& slot, Event event, const Clock& clock) {
    switch (event) {
        case Event::first_byte:
            if (window_.has(slot.due)) report_.first_byte.record(ns(clock.tsc - slot.due));
            break;
        case Event::completed:
            return complete(slot, clock);
        case Event::reset:
            return fail(slot, Failure::reset);
        case Event::closed:
            return fail(slot, Failure::closed);
        case Event::duplicate:
            report_.counts.duplicates++;
            break;
        case Event::gap:
            report_.counts.gaps++;
            break;
        default:
            break;
    }
}

void ClientSide::complete(Slot& slot, const Clock& clock) {
    report_.counts.completed++;
    const uint64_t life = ns(clock.tsc - slot.due);
    lives_.record(life);
    if (window_.has(clock.tsc)) report_.completed++;
    if (window_.has(slot.due)) report_.life.record(life);
    release(slot);
}

void ClientSide::fail(Slot& slot, Failure failure) {
    report_.counts.failed[static_cast<size_t>(failure)]++;
    release(slot);
}

void ClientSide::release(Slot& slot) {
    slot.client.stop();
    free_.push_back(static_cast<uint32_t>(&slot - slots_.data()));
}

void ClientSide::time_up(Slot& slot, const Clock& clock) {
    if (++slot.tries == options_.tries) return fail(slot, unanswered(slot.client.state()));
    report_.counts.retransmitted++;
    say_anew(slot, slot.client.again(), clock);
    arm(slot, clock);
}

void ClientSide::sweep(const Clock& clock) {
    if (!port_.room()) return;
    // All of a million in 16 384 turns, which are a fraction of a second even under load.
    const size_t some = std::min(slots_.size(), std::clamp<size_t>(slots_.size() >> 14, 4, Port::kBurst));
    for (size_t i = 0; i < some; i++) {
        Slot& slot = slots_[swept_];
        swept_ = swept_ + 1 == slots_.size() ? 0 : swept_ + 1;
        if (slot.client.state() != Client::State::idle && clock.tsc > slot.deadline) time_up(slot, clock);
    }
}

void ClientSide::stop() {
    report_.counts.unfinished = slots_.size() - free_.size();
    for (Slot& slot : slots_) slot.client.stop();
}

Histogram ClientSide::take_lives() { return std::exchange(lives_, Histogram{}); }

}  // namespace keyrail::loadgen
