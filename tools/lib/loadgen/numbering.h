// SPDX-License-Identifier: Apache-2.0
// Connections have numbers, and a number is an address and a port of a client: who sees a packet knows
// whose it is without a table. A number comes again when all others had their turn.
#pragma once

#include <arpa/inet.h>

#include <bit>
#include <cstdint>
#include <optional>

namespace keyrail::loadgen {

class Numbering {
  public:
    static constexpr uint32_t kNetwork = 0x64400000;  // 100.64.0.0/10: shared address space, RFC 6598
    static constexpr uint32_t kMaxClients = 1u << 22;
    static constexpr uint16_t kFirstPort = 0x8000;
    static constexpr unsigned kPortBits = 15;

    /// `clients`: addresses, a power of two.
    explicit Numbering(uint32_t clients) : bits_(static_cast<unsigned>(std::countr_zero(clients))) {}

    [[nodiscard]] uint64_t mask() const { return (uint64_t{1} << (bits_ + kPortBits)) - 1; }
    /// As it lies in the packet.
    [[nodiscard]] uint32_t address(uint64_t number) const {
        return htonl(kNetwork + static_cast<uint32_t>(number & ((uint64_t{1} << bits_) - 1)));
    }
    [[nodiscard]] uint16_t port(uint64_t number) const {
        return static_cast<uint16_t>(kFirstPort + (number >> bits_ & ((1u << kPortBits) - 1)));
    }
    [[nodiscard]] std::optional<uint64_t> number(uint32_t address, uint16_t port) const {
        const uint32_t client = ntohl(address) - kNetwork;
        if (client >> bits_ != 0 || port < kFirstPort) return std::nullopt;
        return uint64_t{static_cast<uint16_t>(port - kFirstPort)} << bits_ | client;
    }
    /// Of two numbers that used the same place one after the other.
    [[nodiscard]] bool newer(uint64_t one, uint64_t other) const {
        return one != other && ((one - other) & mask()) < mask() / 2;
    }

  private:
    unsigned bits_;
};

}  // namespace keyrail::loadgen
