// SPDX-License-Identifier: Apache-2.0
// A queue of bytes that may be secret: what leaves it is wiped, also when the buffer grows or shrinks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace keyrail {

class SecretBuffer {
  public:
    SecretBuffer() = default;
    ~SecretBuffer() { clear(); }
    SecretBuffer(const SecretBuffer&) = delete;
    SecretBuffer& operator=(const SecretBuffer&) = delete;
    void swap(SecretBuffer& other) noexcept;

    [[nodiscard]] std::span<const uint8_t> bytes() const { return {data_.data() + begin_, size()}; }
    [[nodiscard]] size_t size() const { return end_ - begin_; }
    [[nodiscard]] bool empty() const { return begin_ == end_; }

    /// Room for at least `least` bytes behind what is there; all that is free is offered. Valid until the
    /// next call.
    std::span<uint8_t> room(size_t least);
    /// The first `count` bytes of room() have been filled.
    void commit(size_t count) { end_ += count; }
    /// Drops the first `count` bytes.
    void consume(size_t count);
    void clear() { consume(size()); }

    static constexpr size_t kKept = size_t{64} << 10;  // capacity that an empty buffer keeps

  private:
    void relocate(size_t capacity);
    void move_to_front();

    std::vector<uint8_t> data_;
    size_t begin_ = 0, end_ = 0;
};

}  // namespace keyrail
