// SPDX-License-Identifier: Apache-2.0
// Reads pcapng (draft-ietf-opsawg-pcapng): packets of several interfaces, each with its own link type and
// snap length, which libpcap refuses. Blocks that are no packets are stepped over. Bounded: one block is in
// memory.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/common/result.h"
#include "dataplane/wire/cursor.h"

namespace keyrail::replay {

class PcapNg {
  public:
    struct Packet {
        int link_type;
        Bytes bytes;      // valid until the next one is read
        size_t size = 0;  // on the wire
    };

    /// nullopt: the file is no pcapng, or cannot be read; libpcap says what it is.
    static std::optional<PcapNg> open(const std::string& path);

    /// The next packet; nullopt at the end of the file, or where it cannot be read any further.
    std::optional<Packet> next();
    /// Why next() stopped before the end of the file; empty if it did not.
    [[nodiscard]] const std::string& error() const { return error_; }

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    struct Interface {
        uint16_t link_type = 0;
        uint32_t snap_length = 0;  // 0: no limit
    };
    explicit PcapNg(std::FILE* file) : file_(file) {}

    bool read_block();
    void begin_section();
    void add_interface();
    std::optional<Packet> enhanced_packet();
    std::optional<Packet> simple_packet();
    std::optional<Packet> old_packet();
    std::optional<Packet> packet(uint32_t interface, size_t at, uint32_t captured, uint32_t size);
    [[nodiscard]] uint16_t number16(size_t at) const;
    [[nodiscard]] uint32_t number32(size_t at) const;
    void fail_here(const std::string& what);

    std::unique_ptr<std::FILE, Close> file_;
    bool big_endian_ = false;
    std::vector<Interface> interfaces_;  // of this section
    uint32_t type_ = 0;
    std::vector<uint8_t> body_;  // of the block
    uint64_t offset_ = 0;        // of the block in the file
    uint64_t next_offset_ = 0;
    std::string error_;
};

}  // namespace keyrail::replay
