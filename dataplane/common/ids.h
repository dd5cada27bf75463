// SPDX-License-Identifier: Apache-2.0
// What control and dataplane number: blades, services, moves, TLS versions. Each is a type of its own, the
// same on both sides. A bare number becomes one only where the code says so; where numbers come in (messages,
// files, names), that is the place that checks them.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace keyrail {

/// The operator names blades by number: session names and messages carry it. 0 is no blade.
class BladeId {
  public:
    static constexpr uint16_t kMin = 1, kMax = 4095;

    constexpr BladeId() = default;                                            // no blade
    consteval BladeId(int number) : number_(static_cast<uint16_t>(number)) {  // a literal
        if (number < 0 || number > kMax) throw "no blade has this number";
    }
    explicit constexpr BladeId(std::same_as<uint16_t> auto number) : number_(number) {}
    /// nullopt: no blade can have this number.
    static constexpr std::optional<BladeId> from(uint64_t number) {
        if (number < kMin || number > kMax) return std::nullopt;
        return BladeId(static_cast<uint16_t>(number));
    }
    /// No blade can have this number: none.
    static constexpr BladeId or_none(uint64_t number) { return from(number).value_or(BladeId{}); }

    /// It is read as a number anywhere: an index, a field of a message, a word for people.
    constexpr operator uint16_t() const { return number_; }

  private:
    uint16_t number_ = 0;
};

/// JSON, without its header.
template <typename Json>
void to_json(Json& to, BladeId blade) {
    to = uint16_t{blade};
}

/// What names a service where a string has no place: made of its name, so the same service has the same id in
/// every snapshot, store and process, and no other one ever gets it.
class ServiceId {
  public:
    constexpr ServiceId() = default;  // not known
    /// As a message or a store has it; 0: not known.
    explicit constexpr ServiceId(std::same_as<uint64_t> auto number) : number_(number) {}
    /// Of no name: not known.
    static constexpr ServiceId of(std::string_view name) {
        if (name.empty()) return {};
        uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
        for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
        return ServiceId(hash != 0 ? hash : uint64_t{1});
    }

    [[nodiscard]] constexpr uint64_t number() const { return number_; }
    [[nodiscard]] constexpr bool known() const { return number_ != 0; }
    auto operator<=>(const ServiceId&) const = default;

  private:
    uint64_t number_ = 0;
};

/// What a worker's question is asked and answered by: the worker that waits, the slot of its table, and the
/// generation of that slot, so that a late answer is told from the next user's. Only keyrail-dp reads it.
template <typename Kind>
class QuestionId {
  public:
    static constexpr uint32_t kGenerations = 1u << 24;

    constexpr QuestionId() = default;
    explicit constexpr QuestionId(std::same_as<uint64_t> auto number) : number_(number) {}
    constexpr QuestionId(uint16_t worker, uint32_t generation, uint32_t slot)
        : number_(uint64_t{worker} << 56 | uint64_t{generation % kGenerations} << 32 | slot) {}

    [[nodiscard]] constexpr uint64_t number() const { return number_; }
    [[nodiscard]] constexpr uint32_t worker() const { return static_cast<uint32_t>(number_ >> 56); }
    [[nodiscard]] constexpr uint32_t generation() const {
        return static_cast<uint32_t>(number_ >> 32) % kGenerations;
    }
    [[nodiscard]] constexpr uint32_t slot() const { return static_cast<uint32_t>(number_); }
    auto operator<=>(const QuestionId&) const = default;

  private:
    uint64_t number_ = 0;
};
using MoveId = QuestionId<struct OfMove>;        // the slot is one of the hold table
using FlowAskId = QuestionId<struct OfFlowAsk>;  // the slot is one of AskedFlows

/// As TLS numbers them (RFC 8446 section 4.2.1); what came by the wire may have any number.
enum class TlsVersion : uint16_t {
    unknown = 0,
    ssl20 = 0x0002,
    ssl30 = 0x0300,
    tls10 = 0x0301,
    tls11 = 0x0302,
    tls12 = 0x0303,
    tls13 = 0x0304,
};

constexpr uint16_t number_of(TlsVersion version) { return static_cast<uint16_t>(version); }

/// "TLS 1.3", or the number.
inline std::string text_of(TlsVersion version) {
    switch (version) {
        case TlsVersion::ssl20:
            return "SSL 2.0";
        case TlsVersion::ssl30:
            return "SSL 3.0";
        case TlsVersion::tls10:
            return "TLS 1.0";
        case TlsVersion::tls11:
            return "TLS 1.1";
        case TlsVersion::tls12:
            return "TLS 1.2";
        case TlsVersion::tls13:
            return "TLS 1.3";
        default:
            return fmt::format("{:#06x}", number_of(version));
    }
}

}  // namespace keyrail

template <>
struct std::hash<keyrail::BladeId> {
    size_t operator()(keyrail::BladeId blade) const noexcept { return blade; }
};
template <>
struct std::hash<keyrail::ServiceId> {
    size_t operator()(keyrail::ServiceId service) const noexcept { return service.number(); }
};

template <>
struct fmt::formatter<keyrail::BladeId> : fmt::formatter<uint16_t> {
    template <typename Context>
    auto format(keyrail::BladeId blade, Context& context) const {
        return fmt::formatter<uint16_t>::format(uint16_t{blade}, context);
    }
};
