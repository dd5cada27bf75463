// SPDX-License-Identifier: Apache-2.0
// The session name: 32 bytes by which a client names its session, and which say where the session's key is
// (DESIGN.md section 4). Layout only; keys and ciphers belong to the caller. Used by the dispatcher (opens a
// burst of names), by keyraild and agents, and by the hook library (makes one).
//
//   byte 0       name-key generation
//   bytes 1..16  AES-128-ECB(name key, check:4 = 0 | version:1 | flags:1 | blade id:2 | random:8)
//   bytes 17..31 tag: the first 15 bytes of AES-128-ECB(tag key, bytes 1..16)
//
//   tag key      AES-128-ECB(name key, "Keyrail name tag")
//
// Each generation has its own tag key, so byte 0 is under the tag, too. What the tag key is made of is no
// block of a name: its first four bytes are not zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "dataplane/common/ids.h"

namespace keyrail {

inline constexpr size_t kSessionNameSize = 32;
inline constexpr size_t kNameBlockOffset = 1;
inline constexpr size_t kNameBlockSize = 16;
inline constexpr size_t kNameTagOffset = kNameBlockOffset + kNameBlockSize;
inline constexpr size_t kNameTagSize = kSessionNameSize - kNameTagOffset;
inline constexpr size_t kNameKeySize = 16;
inline constexpr uint8_t kNameVersion = 1;
inline constexpr size_t kTicketKeyNameSize = 16;  // of foreign tickets: RFC 5077 section 4

using SessionName = std::array<uint8_t, kSessionNameSize>;
using NameBlock = std::array<uint8_t, kNameBlockSize>;

/// What the name key makes the tag key of.
inline constexpr NameBlock kTagKeySeed{'K', 'e', 'y', 'r', 'a', 'i', 'l', ' ',
                                       'n', 'a', 'm', 'e', ' ', 't', 'a', 'g'};

/// The plaintext block of a name made on `blade`. `random` = 8 fresh random bytes.
inline NameBlock make_name_block(BladeId blade, std::span<const uint8_t, 8> random) {
    NameBlock block{};
    block[4] = kNameVersion;
    block[6] = static_cast<uint8_t>(blade >> 8);
    block[7] = static_cast<uint8_t>(blade);
    std::memcpy(&block[8], random.data(), random.size());
    return block;
}

/// Home blade of a decrypted block; nullopt when the block is not one of ours (a random legacy id, a foreign
/// ticket): that is no error, just no affinity. It proves little: 45 bits, and nothing of the tag.
inline std::optional<BladeId> home_of(std::span<const uint8_t, kNameBlockSize> block) {
    uint32_t check = 0;
    std::memcpy(&check, block.data(), sizeof check);
    if (check != 0 || block[4] != kNameVersion || block[5] != 0) return std::nullopt;
    return BladeId::from(static_cast<uint16_t>(block[6] << 8 | block[7]));
}

/// Whether the name ends as its block, encrypted with the tag key, begins: then one of us made it, as it is.
/// In the same time wherever they differ.
inline bool has_tag(const SessionName& name, std::span<const uint8_t, kNameBlockSize> sealed_block) {
    uint64_t tag[2], begin[2];  // overlapping by a byte
    constexpr size_t kSecond = kNameTagSize - sizeof tag[1];
    std::memcpy(&tag[0], &name[kNameTagOffset], sizeof tag[0]);
    std::memcpy(&tag[1], &name[kNameTagOffset + kSecond], sizeof tag[1]);
    std::memcpy(&begin[0], &sealed_block[0], sizeof begin[0]);
    std::memcpy(&begin[1], &sealed_block[kSecond], sizeof begin[1]);
    return ((tag[0] ^ begin[0]) | (tag[1] ^ begin[1])) == 0;
}

}  // namespace keyrail
