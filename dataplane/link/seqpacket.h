// SPDX-License-Identifier: Apache-2.0
// The unix SOCK_SEQPACKET socket between keyraild and keyrail-dp: one protobuf message per packet, never
// blocking.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/common/result.h"

namespace google::protobuf {
class MessageLite;
}

namespace keyrail {

inline constexpr size_t kMaxPacket = 4u << 20;

/// A file descriptor that is closed with its owner.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release();
    void reset();

  private:
    int fd_;
};

/// The lock that says which keyrail-dp owns a run directory (made with mode 0700 when missing); held until it
/// is closed or the process dies, so a stale one cannot exist.
Result<Descriptor> lock_run_directory(const std::filesystem::path& directory);

/// Listens at `path`, mode 0600; removes a stale socket. The caller owns the directory's lock.
Result<Descriptor> listen_seqpacket(const std::filesystem::path& path);

/// The next waiting peer, if it is root or of our own user; others are turned away with a log line.
std::optional<Descriptor> accept_peer(int listener);

enum class Transfer : uint8_t { done, again, too_large, closed };

/// Receives one packet into `buffer` (which keeps its capacity); `size` is the packet's full length.
Transfer receive_packet(int fd, std::span<uint8_t> buffer, size_t& size);
Transfer send_message(int fd, const google::protobuf::MessageLite& message);

}  // namespace keyrail
