// SPDX-License-Identifier: Apache-2.0
// Where a move's time goes, from wake-up to wake-up: what clients wait for is the sum of these. Stages
// between two machines are measured only where both have one clock (the lab, a bench); within one, always.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "dataplane/common/histogram.h"
#include "dataplane/common/stamp.h"

namespace keyrail {

class MoveStages {
  public:
    enum Stage : uint8_t { request, order, take, transfer, store, report };
    struct Text {
        std::string_view name, meaning;
    };
    static constexpr std::array<Text, 6> kTexts = {{
        {"request", "keyrail-dp has sent the request -> keyraild has read it"},
        {"order", "keyraild has read the request -> the holder's agent has read the order"},
        {"take", "the holder's agent: order read -> session taken out and sent"},
        {"transfer", "session sent -> the target's agent has read it"},
        {"store", "the target's agent: session read -> stored"},
        {"report", "stored -> keyraild has read that"},
    }};

    void add(Stage stage, uint64_t from_ns, uint64_t to_ns) {
        const int64_t us = stage_us(from_ns, to_ns);
        if (us >= 0) stages_[stage].add(std::chrono::microseconds(us));
    }
    [[nodiscard]] const auto& stages() const { return stages_; }

  private:
    std::array<Histogram, kTexts.size()> stages_;
};

}  // namespace keyrail
