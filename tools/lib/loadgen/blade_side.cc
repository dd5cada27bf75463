// SPDX-License-Identifier: Apache-2.0
#include "tools/lib/loadgen/blade_side.h"

#include <rte_mbuf.h>

namespace keyrail::loadgen {
namespace {

constexpr size_t kPorts = 1u << 16;

}  // namespace

/// A proxy's connections have no numbers: there the blade and the proxy's port are the place.
BladeSide::BladeSide(const Options& options, const Script& script, Port& port, Report& report)
    : options_(options),
      script_(script),
      port_(port),
      report_(report),
      numbering_(options.clients),
      slots_(options.bind == Bind::proxy ? (options.blades + 1) * kPorts
                                         : std::bit_ceil(options.connections)),
      slot_mask_(slots_.size() - 1),
      expected_(script.hellos()) {
    if (options.affinity != Affinity::name) return;
    for (uint32_t i = 0; i < script.hellos(); i++) expected_[i] = script.home(i);
}

/// The place of this packet's connection, cleared when the packet is of a later one than was there.
BladeSide::Slot* BladeSide::slot_of(const Received& received) {
    if (received.blade == 0 || received.blade > options_.blades) return nullptr;
    if (options_.bind == Bind::proxy) {
        Slot& slot = slots_[received.blade * kPorts + received.source_port];
        if (received.segment.flags & kSyn && slot.conversation.state() > Blade::State::open) slot = {};
        return &slot;
    }
    const auto number = numbering_.number(received.source, received.source_port);
    if (!number) return nullptr;
    Slot& slot = slots_[*number & slot_mask_];
    if (slot.number == *number) return &slot;
    if (slot.conversation.state() != Blade::State::closed && !numbering_.newer(*number, slot.number))
        return nullptr;
    slot = Slot{.number = *number};
    return &slot;
}

bool BladeSide::poll(const Clock& clock) {
    std::array<rte_mbuf*, Port::kBurst> frames;
    const uint16_t count = port_.receive(frames.data());
    for (uint16_t i = 0; i < count; i++) receive(frames[i], clock);
    return count != 0;
}

bool BladeSide::greet(Slot& slot, const Received& received) {
    const uint32_t hello = script_.recognise(received.payload);
    if (hello == Script::kUnknown) {
        // With late binding there is no SYN to say where a stream begins. It does with a handshake record.
        constexpr uint8_t kHandshake = 22;
        (received.payload[0] == kHandshake ? report_.counts.unreadable : report_.counts.gaps)++;
        return false;
    }
    slot.hello = hello;
    slot.greeted = true;
    if (options_.affinity == Affinity::learned && expected_[hello] == 0) expected_[hello] = received.blade;
    return true;
}

/// What this segment has of the ClientHello.
bool BladeSide::as_sent(const Slot& slot, const Received& received) const {
    const int64_t offset = slot.conversation.offset_of(received.segment.seq);
    return received.payload.empty() || offset < 0 ||
           script_.has(slot.hello, static_cast<size_t>(offset), received.payload);
}

void BladeSide::check(const Slot& slot, Event event) {
    Counts& counts = report_.counts;
    if (event == Event::hello && expected_[slot.hello] != 0 && expected_[slot.hello] != slot.blade)
        counts.wrong_blade++;
    counts.duplicates += event == Event::duplicate ? 1 : 0;
    counts.gaps += event == Event::gap ? 1 : 0;
    counts.strays += event == Event::stray || event == Event::closed ? 1 : 0;
}

void BladeSide::receive(rte_mbuf* frame, const Clock& clock) {
    Received received;
    Slot* slot = nullptr;
    if (!read_frame({rte_pktmbuf_mtod(frame, const uint8_t*), frame->data_len}, received))
        report_.counts.other++;
    else if (slot = slot_of(received); slot == nullptr)
        report_.counts.strays++;
    if (slot == nullptr) return rte_pktmbuf_free(frame);
    const bool first = !slot->greeted && !received.payload.empty();
    if (first && slot->conversation.begins(received.segment) && !greet(*slot, received))
        return rte_pktmbuf_free(frame);
    if (slot->conversation.state() == Blade::State::closed) slot->blade = received.blade;
    if (slot->blade != received.blade) report_.counts.split++;
    const Step step =
        slot->conversation.receive(received.segment, script_.lengths(), options_.bind == Bind::late);
    check(*slot, step.event);
    if (slot->greeted && !as_sent(*slot, received)) report_.counts.unreadable++;
    if (step.say == Say::nothing) return rte_pktmbuf_free(frame);
    answer(*slot, step.say, received, frame, clock);
}

/// In the mbuf of what is answered.
void BladeSide::answer(const Slot& slot, Say what, const Received& to, rte_mbuf* frame, const Clock& clock) {
    const Path path{.to = options_.back_mac,
                    .from = blade_mac(slot.blade),
                    .source = to.destination,
                    .destination = to.source,
                    .source_port = to.destination_port,
                    .destination_port = to.source_port};
    const Segment segment{.flags = flags_of(what),
                          .seq = slot.conversation.seq(what, script_.lengths()),
                          .ack = slot.conversation.next_expected(),
                          .tsval = clock.ms};
    port_.send(frame, path, segment, slot.conversation.echo(), script_.segments(what, slot.hello)[0]);
}

}  // namespace keyrail::loadgen
