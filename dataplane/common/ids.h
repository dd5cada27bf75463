// SPDX-License-Identifier: Apache-2.0
// What control and dataplane number: the same ranges on both sides.
#pragma once

#include <cstdint>
#include <string_view>

namespace keyrail {

/// Blades are named by the operator: their id is in session names and messages. 0 is no blade.
inline constexpr uint16_t kBladeIdMin = 1;
inline constexpr uint16_t kBladeIdMax = 4095;

/// What names a service where a string has no place: made of its name, so the same service has the same id in
/// every snapshot, store and process, and no other one ever gets it. Never 0, which means "not known".
using ServiceId = uint64_t;
constexpr ServiceId service_id(std::string_view name) {
    uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    return hash != 0 ? hash : 1;
}

/// What a move is asked and answered by: which worker waits, in which slot of its hold table, and for the
/// how-manieth user of that slot, so that a late answer is told from the next user's. Opaque to everyone but
/// keyrail-dp.
class MoveId {
  public:
    static constexpr uint32_t kGenerations = 1u << 24;

    explicit constexpr MoveId(uint64_t number) : number_(number) {}
    constexpr MoveId(uint16_t worker, uint32_t generation, uint32_t slot)
        : number_(uint64_t{worker} << 56 | uint64_t{generation % kGenerations} << 32 | slot) {}

    [[nodiscard]] constexpr uint64_t number() const { return number_; }
    [[nodiscard]] constexpr uint32_t worker() const { return static_cast<uint32_t>(number_ >> 56); }
    [[nodiscard]] constexpr uint32_t generation() const {
        return static_cast<uint32_t>(number_ >> 32) % kGenerations;
    }
    [[nodiscard]] constexpr uint32_t slot() const { return static_cast<uint32_t>(number_); }

  private:
    uint64_t number_;
};

}  // namespace keyrail
